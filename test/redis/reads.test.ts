import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { errors } from '../../lib/errors.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { Reads } from '../../lib/redis/reads.ts'
import { READ_TOGETHER_MS } from '../../lib/util/timings.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)

/** Reads over a link of its own, and the commands that it has sent. */
function open () {
  const link = new RedisLink(redis.client)
  t.teardown(() => link.close())
  const sent: string[][] = []
  const run = link.run.bind(link)
  link.run = async <T>(key: string, command: Parameters<typeof run<T>>[1]): Promise<T> => await run(key, (client) => command(new Proxy(client, {
    get: (target, name) => name === 'mget' ? async (keys: string[]) => { sent.push(keys); return await target.mget(keys) } : Reflect.get(target, name, target) as unknown
  })))
  return { link, reads: new Reads(link), sent }
}

t.test('what is asked for in one turn is read with one command, and everybody gets their own', async (t) => {
  const { reads, sent } = open()
  const ours = prefix()
  for (const name of ['a', 'b', 'c']) await redis.client.set(ours + name, name)
  const asked = ['a', 'none', 'b', 'a', 'c'].map((name) => ours + name)
  t.strictSame(await Promise.all(asked.map(async (key) => await reads.get(key))), ['a', null, 'b', 'a', 'c'])
  t.strictSame(sent, [[...new Set(asked)]], 'a key once')
  t.equal(await reads.get(`${ours}c`), 'c')
  t.equal(sent.length, 2, 'another turn, another command')
})

for (const outcome of ['an answer', 'a failure', 'a moment']) {
  t.test(`what is asked for while a command is under way waits for ${outcome}, and is then read with one`, async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    const { link, reads, sent } = open()
    const ours = prefix()
    for (const name of ['a', 'b', 'c']) await redis.client.set(ours + name, name)
    let go = (): void => {}
    const held = new Promise<void>((resolve) => { go = resolve })
    const run = link.run.bind(link)
    link.run = async (...args) => {
      const isFirst = sent.length === 0
      const answer = await run(...args)
      if (!isFirst) return answer
      await held
      if (outcome === 'a failure') throw new errors.STORE_UNAVAILABLE()
      return answer
    }
    const first = reads.get(`${ours}a`).catch((error: Error) => error)
    while (sent.length === 0) await setImmediate()
    const others: Array<Promise<string | null>> = []
    for (const name of ['b', 'c', 'b']) {
      others.push(reads.get(ours + name))
      await setImmediate()
    }
    t.equal(sent.length, 1)
    if (outcome === 'a moment') mock.timers.tick(READ_TOGETHER_MS)
    else go()
    t.strictSame(await Promise.all(others), ['b', 'c', 'b'])
    go()
    t.match(await first, outcome === 'a failure' ? { code: 'ERR_SESSION_STORE_UNAVAILABLE' } : /^a$/)
    t.strictSame(sent.slice(1), [[`${ours}b`, `${ours}c`]])
    t.equal(await reads.get(`${ours}a`), 'a')
    t.equal(sent.length, 3)
  })
}

t.test('no command reads more than 500 keys', async (t) => {
  const { reads, sent } = open()
  const ours = prefix()
  const keys = Array.from({ length: 1_201 }, (_, number) => `${ours}${number}`)
  await redis.client.mset(keys.flatMap((key, number) => [key, String(number)]))
  t.strictSame(await Promise.all(keys.map(async (key) => await reads.get(key))), keys.map((_, number) => String(number)))
  t.strictSame(sent.map(({ length }) => length), [500, 500, 201])
})

t.test('what is of another type is not there, and keeps nobody from the rest', async (t) => {
  const { reads } = open()
  const ours = prefix()
  await redis.client.rpush(`${ours}list`, 'x')
  await redis.client.set(`${ours}text`, 'x')
  t.strictSame(await Promise.all(['list', 'text', 'none'].map(async (name) => await reads.get(ours + name))), [null, 'x', null])
  t.strictSame(await Promise.all(['list', 'text', 'none'].map(async (name) => await reads.isForeign(ours + name))), [true, false, false])
})

t.test('when it fails everybody hears so, each by an error of their own', async (t) => {
  const { link, reads } = open()
  const cause = new Error('no answer')
  const failures: Array<[failure: Error, own: boolean]> = [[new errors.STORE_UNAVAILABLE({ cause }), true], [new errors.STORE_UNAVAILABLE(), true], [new TypeError('a mistake'), false]]
  for (const [failure, own] of failures) {
    link.run = async () => { throw failure }
    const heard = await Promise.all(['a', 'b', 'a'].map(async (key) => await reads.get(key).then(() => null, (error: Error) => error)))
    for (const each of heard) {
      t.match(each, { message: failure.message, cause: failure.cause })
      t.equal('cause' in (each as Error), 'cause' in failure, 'whether anything was sent can be told')
    }
    t.equal(new Set(heard).size, own ? 3 : 1)
  }
})
