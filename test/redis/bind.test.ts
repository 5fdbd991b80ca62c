import t from 'tap'
import { encode } from '../../lib/store/codec.ts'
import { MINUTE, record } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'

const redis = await startRedis(t)

/** Texts that look like the member of a key, or like an end of the line that it is on. */
const LOOK_ALIKES = [
  ',"d":"x', ',"d":"ES256 one"', '","d":"ES256 one"', '\\', '\\","d":"x', '\\\\","d":"ES256 one', ',', '"', '"}\n{"', '}\n{', '{"s":1,"h":"x"',
  '%d', '%1', '\u2028', '🙂', '\0'
]
/** Keys, and what no key looks like. */
const KEYS = ['ES256 one', `RS256 ${'k'.repeat(994)}`, ...LOOK_ALIKES]

t.test('the key of a session is one member of its first line, whatever the texts beside it look like', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  for (const [at, text] of LOOK_ALIKES.entries()) {
    const members = { label: text, meta: JSON.stringify({ [text]: text }), methods: text, actor: text, data: JSON.stringify({ d: text, [text]: 1 }) }
    const session = record({ now: store.now(), ...members })
    const [first = '', second = ''] = [KEYS.at(at), KEYS.at(at - 1)]
    await store.begin(session)
    const key = ours + session.id
    const expiry = await redis.client.pexpiretime(key)
    const one = { ...session, boundKey: first }
    t.strictSame(await store.bind(session, first), one)
    t.equal(await redis.client.get(key), encode(one), 'as if it had begun with it')
    t.strictSame(await store.bind(session, second), one)
    t.strictSame(await store.bind({ ...session, boundKey: second }, second), one)
    t.equal(await redis.client.get(key), encode(one))
    const other = { ...session, boundKey: second }
    t.strictSame(await store.bind(one, second), other)
    t.equal(await redis.client.get(key), encode(other))
    t.equal(await redis.client.pexpiretime(key), expiry)
  }
})

t.test('a move by one script notices a key, whatever the texts beside it look like', async (t) => {
  const store = await openStore(t, redis.url, { prefix: prefix() })
  for (const [at, label] of LOOK_ALIKES.entries()) {
    const [first = '', second = ''] = [KEYS.at(at), KEYS.at(at - 1)]
    for (const boundKey of [null, first]) {
      const before = record({ now: store.now(), label, boundKey })
      await store.begin(before)
      await store.bind(before, second)
      const after = { ...before, id: record().id }
      t.strictSame(await store.move(after, before), { ...after, boundKey: second })
      t.strictSame(await store.find(after.id), { ...after, boundKey: second })
    }
  }
})

t.test('a move by one script of a session with the key that it was known with takes no other command', async (t) => {
  const store = await openStore(t, redis.url, { prefix: prefix() })
  /** What is sent about a session that waits beside, but to begin it. */
  const more: string[] = []
  const run = store['link'].run.bind(store['link'])
  const script = store['link'].script.bind(store['link'])
  const note = (key = ''): void => { if (key.startsWith('@{')) more.push(key) }
  Object.assign(store['link'], {
    run: async (...args: Parameters<typeof run>) => {
      note(args[0])
      return await run(...args)
    },
    script: async (...args: Parameters<typeof script>) => {
      note(args[1][0])
      return await script(...args)
    }
  })
  for (const boundKey of [null, 'ES256 one']) {
    const before = record({ now: store.now(), boundKey, label: ',"d":"x' })
    await store.begin(before)
    const after = { ...before, id: record().id }
    t.strictSame(await store.move(after, before), after)
    t.strictSame(more, [])
    await store.bind(after, 'ES256 another')
    await store.move({ ...after, id: record().id }, after)
    t.equal(more.splice(0).length, 2, 'and else it is written again, and begins')
  }
})

t.test('members of the first line that a version does not know stay, whatever it does with the session but move it', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  for (const place of ['before', 'after']) {
    const session = record({ now: store.now(), boundKey: 'ES256 one' })
    const [line = '', data = ''] = encode(session).split('\n')
    const unknown = place === 'before' ? line.replace(',"d":', ',"zz":",\\"d\\":\\"x","d":') : line.replace(/}$/, ',"zz":",\\"d\\":\\"x"}')
    t.not(unknown, line)
    await redis.client.set(ours + session.id, `${unknown}\n${data}`, 'PX', 30 * MINUTE)
    t.strictSame(await store.find(session.id), session)
    t.equal(await store.touch(session), true)
    await store.update(session, () => '{"cart":1}')
    await store.setTimeouts(session, { idleTimeoutMs: 20 * MINUTE })
    t.equal((await store.bind(session, 'ES256 another'))?.boundKey, 'ES256 another')
    const stored = await redis.client.get(ours + session.id) ?? ''
    const expected = unknown.replace('"ES256 one"', '"ES256 another"').replace('"i":1800000', '"i":1200000')
    t.equal(stored.replace(/^{"s":\d+/, ''), `${expected.replace(/^{"s":\d+/, '')}\n{"cart":1}`)
  }
})

t.test('what is no session of this package is not bound, and left alone', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const session = record({ now: store.now() })
  const key = ours + session.id
  const [line = '', data = ''] = encode(session).split('\n')
  for (const value of ['', 'x', '{}', '{"cookie":{},"d":"x"}', '{"s":1800000000000,"h":"x"}\n{}', line, `${line}\n`, `\n${line}\n${data}`, `${line}x\n${data}`]) {
    await redis.client.set(key, value)
    t.equal(await store.bind(session, 'ES256 one'), null, value)
    t.equal(await redis.client.get(key), value)
  }
  await redis.client.del(key)
  await redis.client.rpush(key, 'x')
  t.equal(await store.bind(session, 'ES256 one'), null)
  t.equal(await redis.client.llen(key), 1)
})
