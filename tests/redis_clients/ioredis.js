// What ioredis does with `edgeloop kv`.
//
//     node ioredis.js HOST:PORT
const assert = require('node:assert');
const Redis = require('ioredis');

const [host, port] = process.argv[2].split(':');
const connect = (options) => new Redis({ host, port: Number(port), ...options });

async function main() {
  const redis = connect();
  await redis.flushall();
  const done = await redis.multi().set('a', 1).incr('a').get('a').exec();
  assert.deepStrictEqual(done, [[null, 'OK'], [null, 2], [null, '2']]);
  const other = connect();
  await redis.watch('a');
  await other.set('a', 9);
  assert.strictEqual(await redis.multi().set('a', 5).exec(), null);
  await redis.multi({ pipeline: false });
  await redis.set('b', 1);
  assert.deepStrictEqual(await redis.exec(), [[null, 'OK']]);
  const many = redis.multi();
  for (let number = 0; number < 5000; number += 1) many.set(`k${number}`, 'v');
  assert.strictEqual((await many.exec()).length, 5000);
  await assert.rejects(redis.multi().set('a').set('b', 2).exec(), /EXECABORT/);

  const fourth = connect({ db: 4 });
  await fourth.set('only', 'here');
  assert.deepStrictEqual([await fourth.dbsize(), await redis.exists('only')], [1, 0]);

  const listener = connect();
  await listener.subscribe('news');
  const heard = new Promise((resolve) => listener.on('message', (_, text) => resolve(text)));
  assert.deepStrictEqual(await redis.multi().publish('news', 'hi').exec(), [[null, 1]]);
  assert.strictEqual(await heard, 'hi');

  let found = 0;
  for await (const keys of redis.scanStream({ match: 'k1*', count: 500 })) found += keys.length;
  assert.strictEqual(found, 1111);
  [redis, other, fourth, listener].forEach((client) => client.disconnect());
  console.log(`ioredis ${require('ioredis/package.json').version}: ok`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
