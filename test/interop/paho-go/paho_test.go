// Package paho only names the module whose own tests are run against the broker.
package paho

import _ "github.com/eclipse/paho.mqtt.golang"
