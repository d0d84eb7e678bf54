// node aedes-server.mjs MODULES PORT [LEVEL_DIRECTORY]: Aedes as a peer of the benchmark, installed in MODULES by peers.mjs.
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, directory] = process.argv.slice(2);
const require = createRequire(join(modules, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Aedes } = await load('aedes');
const options = {};
if (directory !== undefined) {
  const { Level } = await load('level');
  options.persistence = (await load('aedes-persistence-level')).default(new Level(directory));
}
const aedes = await Aedes.createBroker(options);
createServer(aedes.handle).listen(Number(port), '127.0.0.1');
