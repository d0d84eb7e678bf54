// Drives a broker with franz-go: go run . BOOTSTRAP. Prints what it saw as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func client(bootstrap string, options ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap), kgo.AllowAutoTopicCreation())...)
	must(err)
	return c
}

// read takes the first n values of a group and commits them.
func read(ctx context.Context, bootstrap, topic, group string, n int, options ...kgo.Opt) []string {
	c := client(bootstrap, append(options,
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer c.Close()
	values := []string{}
	for len(values) < n {
		fetches := c.PollRecords(ctx, n-len(values))
		must(fetches.Err0())
		var records []*kgo.Record
		fetches.EachRecord(func(r *kgo.Record) {
			values = append(values, string(r.Value))
			records = append(records, r)
		})
		must(c.CommitRecords(ctx, records...))
	}
	return values
}

func main() {
	bootstrap := os.Args[1]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seen := map[string]any{}

	// An idempotent producer, its default.
	c := client(bootstrap)
	create := kmsg.NewPtrCreateTopicsRequest()
	for _, name := range []string{"franz", "franz-tx"} {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		create.Topics = append(create.Topics, topic)
	}
	created, err := create.RequestWith(ctx, c)
	must(err)
	for _, topic := range created.Topics {
		must(kerr.ErrorForCode(topic.ErrorCode))
	}
	ordered := true
	for i := 0; i < 300; i++ {
		want := int64(i)
		c.Produce(ctx, &kgo.Record{Topic: "franz", Value: []byte(fmt.Sprintf("line %d", i))}, func(r *kgo.Record, err error) {
			must(err)
			ordered = ordered && r.Offset == want
		})
	}
	must(c.Flush(ctx))
	seen["ordered"] = ordered
	c.Close()

	seen["first"] = read(ctx, bootstrap, "franz", "franz", 100)
	seen["second"] = read(ctx, bootstrap, "franz", "franz", 200)

	tx := client(bootstrap, kgo.TransactionalID("franz-tx"))
	for _, step := range []struct {
		value  string
		commit kgo.TransactionEndTry
	}{{"kept", kgo.TryCommit}, {"dropped", kgo.TryAbort}, {"kept too", kgo.TryCommit}} {
		must(tx.BeginTransaction())
		must(tx.ProduceSync(ctx, &kgo.Record{Topic: "franz-tx", Value: []byte(step.value)}).FirstErr())
		must(tx.EndTransaction(ctx, step.commit))
	}
	tx.Close()
	seen["committed"] = read(ctx, bootstrap, "franz-tx", "franz-committed", 2, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	seen["uncommitted"] = read(ctx, bootstrap, "franz-tx", "franz-all", 3)

	// A topic nobody may create.
	bad := client(bootstrap)
	defer bad.Close()
	err = bad.ProduceSync(ctx, &kgo.Record{Topic: "not allowed", Value: []byte("x")}).FirstErr()
	seen["refused"] = errors.Is(err, kerr.InvalidTopicException)
	must(json.NewEncoder(os.Stdout).Encode(seen))
}
