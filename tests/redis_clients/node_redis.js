// What node-redis does with `edgeloop kv`, in either version of the protocol.
//
//     node node_redis.js HOST:PORT
const assert = require('node:assert');
const { createClient, WatchError } = require('redis');

const [host, port] = process.argv[2].split(':');

async function connect(RESP, options) {
  const client = createClient({ RESP, socket: { host, port: Number(port) }, ...options });
  client.on('error', (error) => { throw error; });
  return client.connect();
}

async function main(RESP) {
  const redis = await connect(RESP);
  await redis.flushAll();
  assert.deepStrictEqual(await redis.multi().set('a', '1').incr('a').get('a').exec(), ['OK', 2, '2']);
  const other = await connect(RESP);
  await redis.watch('a');
  await other.set('a', '9');
  await assert.rejects(redis.multi().set('a', '5').exec(), WatchError);
  await assert.rejects(redis.multi().addCommand(['NOPE']).set('never', '2').exec());
  assert.strictEqual(await redis.exists('never'), 0);
  const many = redis.multi();
  for (let number = 0; number < 5000; number += 1) many.set(`k${number}`, 'v');
  assert.strictEqual((await many.exec()).length, 5000);

  const fifth = await connect(RESP, { database: 5 });
  await fifth.set('only', 'here');
  assert.deepStrictEqual([await fifth.dbSize(), await redis.exists('only')], [1, 0]);

  const listener = await connect(RESP);
  let hear;
  const heard = new Promise((resolve) => { hear = resolve; });
  await listener.subscribe('news', hear);
  assert.deepStrictEqual(await redis.multi().publish('news', 'hi').exec(), [1]);
  assert.strictEqual(await heard, 'hi');

  let found = 0;
  for await (const keys of redis.scanIterator({ MATCH: 'k1*', COUNT: 500 })) found += keys.length;
  assert.strictEqual(found, 1111);
  await Promise.all([redis, other, fifth, listener].map((client) => client.close()));
  console.log(`node-redis ${require('redis/package.json').version} in RESP${RESP}: ok`);
}

main(2).then(() => main(3)).catch((error) => {
  console.error(error);
  process.exit(1);
});
