/*
 * connect-redis 8.1.0's own test (its index_test.ts), ported word for word to tap and to the drivers that our RedisStore
 * takes. Left out is its part about node-redis; and its thousand sessions live for a minute where they lived for a
 * second, which is short on a busy machine. Its licence:
 *
 * MIT License
 *
 * Copyright (c) 2010-2023 TJ Holowaychuk
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
 * rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
 * persons to whom the Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
 * Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
 * COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
 * OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
import { inspect, isDeepStrictEqual } from 'node:util'
import expressSession from 'express-session'
import { Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore } from '../../lib/express/redis-store.ts'
import { startRedis } from '../helpers/redis.ts'

// Its class is there, but @types/express-session has it as an interface of what there is otherwise.
const { Cookie } = expressSession as unknown as { Cookie: new () => expressSession.Cookie }

for (const [driver, connect] of [['ioredis 6', (url: string) => new Redis(url)], ['ioredis 5', (url: string) => new Redis5(url)]] as const) {
  t.test(`connect-redis' own test: defaults, on ${driver}`, async (t) => {
    const { url } = await startRedis(t)
    const client = connect(url)
    const store = new RedisStore({ client })
    t.ok(store.client)
    t.equal(store.prefix, 'sess:')
    t.equal(store.ttl, 86400) // defaults to one day
    t.equal(store.scanCount, 100)
    t.equal(store.serializer, JSON)
    t.equal(store.disableTouch, false)
    t.equal(store.disableTTL, false)
    await store.close()
    client.disconnect()
  })

  t.test(`connect-redis' own test: a session's life, on ${driver}`, async (t) => {
    const { url } = await startRedis(t)
    const client = connect(url)
    const store = new RedisStore({ client })
    await lifecycleTest(t, store, client)
    await store.close()
    client.disconnect()
  })
}

async function lifecycleTest (t: Test, store: RedisStore, client: { ttl: (key: string) => Promise<number> }): Promise<void> {
  let res = await store.clear()

  const sess = { foo: 'bar', cookie: { originalMaxAge: null } }
  await store.set('123', sess)

  res = await store.get('123')
  t.ok(isDeepStrictEqual(res, sess), inspect(res))

  let ttl = await client.ttl('sess:123')
  t.ok(ttl >= 86399)

  ttl = 60
  let expires = new Date(Date.now() + ttl * 1000)
  await store.set('456', { cookie: { originalMaxAge: null, expires } })
  ttl = await client.ttl('sess:456')
  t.ok(ttl <= 60)

  ttl = 90
  const expires2 = new Date(Date.now() + ttl * 1000)
  await store.touch('456', { cookie: { originalMaxAge: null, expires: expires2 } })
  ttl = await client.ttl('sess:456')
  t.ok(ttl > 60)

  res = await store.length()
  t.equal(res, 2) // stored two keys length

  res = await store.ids()
  res.sort()
  t.strictSame(res, ['123', '456'])

  res = await store.all()
  res.sort((a: any, b: any) => (a.id > b.id ? 1 : -1))
  t.ok(isDeepStrictEqual(res, [
    { id: '123', foo: 'bar', cookie: { originalMaxAge: null } },
    { id: '456', cookie: { originalMaxAge: null, expires: expires.toISOString() } }
  ]), inspect(res))

  await store.destroy('456')
  res = await store.length()
  t.equal(res, 1) // one key remains

  res = await store.clear()

  res = await store.length()
  t.equal(res, 0) // no keys remain

  const count = 1000
  await load(store, count)

  res = await store.length()
  t.equal(res, count)

  await store.clear()
  res = await store.length()
  t.equal(res, 0)

  expires = new Date(Date.now() + ttl * 1000) // expires in the future
  res = await store.set('789', { cookie: { originalMaxAge: null, expires } })

  res = await store.length()
  t.equal(res, 1)

  expires = new Date(Date.now() - ttl * 1000) // expires in the past
  await store.set('789', { cookie: { originalMaxAge: null, expires } })

  res = await store.length()
  t.equal(res, 0) // no key remains and that includes session 789
}

async function load (store: RedisStore, count: number): Promise<void> {
  const cookie = new Cookie()
  for (let sid = 0; sid < count; sid++) {
    cookie.expires = new Date(Date.now() + 60_000)
    await store.set(`s${sid}`, { cookie })
  }
}
