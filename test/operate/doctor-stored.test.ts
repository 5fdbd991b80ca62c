import t from 'tap'
import type { Test } from 'tap'
import { census } from '../../lib/operate/doctor/census.ts'
import { doctor } from '../../lib/operate/doctor/doctor.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { about, examine, patientAt } from '../helpers/doctor.ts'
import { operate } from '../helpers/operate.ts'
import { record } from '../helpers/record.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { startWire } from '../helpers/wire.ts'

const redis = await startRedis(t)

/** Begins sessions, and returns them. */
async function begin (store: RedisStore, ...sessions: Array<Partial<SessionRecord>>): Promise<SessionRecord[]> {
  const begun: SessionRecord[] = []
  for (let at = 0; at < sessions.length; at += 50) {
    const some = await Promise.all(sessions.slice(at, at + 50).map(async (each) => await store.begin(record({ now: store.now(), ...each }))))
    begun.push(...some.filter((each) => each !== null))
  }
  return begun
}

async function opened (t: Test): Promise<{ store: RedisStore, keyPrefix: string }> {
  const keyPrefix = prefix()
  return { store: await openStore(t, redis.url, { prefix: keyPrefix }), keyPrefix }
}

t.test('sessions are counted by what they are, and users by how many they have', async (t) => {
  const { store, keyPrefix } = await opened(t)
  const anonymous = { userId: null, authenticatedAt: null }
  await begin(store, ...Array.from({ length: 5 }, () => ({ userId: 'ada' })), { userId: 'bob' }, { userId: 'bob', kind: 'bearer' }, anonymous, anonymous, anonymous)
  // The sessions of this one have run out, and the list is still there.
  await redis.client.zadd(`@${keyPrefix}user:carol`, 1, 'x:1')
  const report = await examine(t, redis.url, { prefix: keyPrefix })
  t.match(report.stored, {
    isSample: false,
    sessions: 10,
    signedIn: 7,
    anonymous: 3,
    bearer: 1,
    lists: 2,
    foreign: { express: 0, unreadable: 0, other: 0 },
    entries: { checked: 7, orphans: 0 },
    listed: { checked: 7, missing: 0 },
    users: [{ userId: 'ada', sessions: 5 }, { userId: 'bob', sessions: 2 }]
  })
  t.ok(Number(report.stored?.bytes) > 10 * 100)
  t.match(about(report, 'sessions'), [/^ok: 10 sessions under t\w+: \([\d.]+ KB\): 7 signed in, 1 of them by bearer tokens, and 3 anonymous; 2 users$/])
  t.match(about(report, 'users'), ['ok: most sessions: ada 5, bob 2'])
  t.match(about(report, 'lists'), ['ok: 0 of 7 entries'])
})

t.test('a prefix under which nothing lies', async (t) => {
  const report = await examine(t, redis.url, { prefix: prefix() })
  t.match(report.stored, { sessions: 0, signedIn: 0, bytes: 0, lists: 0, users: [] })
  t.match(about(report, 'sessions'), [/^ok: 0 sessions/])
})

t.test('entries of lists without a session, and sessions without an entry, are found', async (t) => {
  const { store, keyPrefix } = await opened(t)
  const [first, second] = await begin(store, ...Array.from({ length: 30 }, () => ({ userId: 'ada' })), ...Array.from({ length: 3 }, () => ({ userId: 'bob' })))
  await redis.client.del(keyPrefix + first?.id, keyPrefix + second?.id)
  const few = await examine(t, redis.url, { prefix: keyPrefix })
  t.match(about(few, 'lists'), ['note: 2 of 33 entries looked up in lists of users have no session'])
  await redis.client.del(`@${keyPrefix}user:bob`)
  const unlisted = await examine(t, redis.url, { prefix: keyPrefix })
  t.match(unlisted.stored, { listed: { checked: 31, missing: 3 } })
  t.match(about(unlisted, 'lists')[1], /^warning: 3 of 31 sessions looked up are not on their user's list: .*revokeUser does not end them/)
  const listed = await store.listByUser('ada', { limit: 12 })
  await redis.client.del(...listed.map(({ id }) => keyPrefix + id))
  t.match(about(await examine(t, redis.url, { prefix: keyPrefix }), 'lists')[0], /^warning: 1\d of/)
})

t.test('what is no session of ours is told by its form, and never by its name', async (t) => {
  const { store, keyPrefix } = await opened(t)
  await begin(store, { userId: 'ada' })
  const express = JSON.stringify({ cart: 'x'.repeat(50), cookie: { originalMaxAge: null } })
  await redis.client.mset({ [`${keyPrefix}secret-one`]: express, [`${keyPrefix}secret-two`]: `{"cookie":{},"cart":"${'x'.repeat(50_000)}"}`, [`${keyPrefix}secret-three`]: 'hello' })
  await redis.client.hset(`${keyPrefix}secret-four`, 'a', 'b')
  const report = await examine(t, redis.url, { prefix: keyPrefix })
  t.match(report.stored, { sessions: 1, foreign: { express: 2, unreadable: 1, other: 1 } })
  t.match(about(report, 'foreign keys'), [/^note: 2 sessions of express-session or @fastify\/session/, /^warning: 1 texts/, /^warning: 1 hashes, lists or sets/])
  t.notMatch(JSON.stringify(report), /secret-/)
  t.match(about(await examine(t, redis.url, { prefix: keyPrefix, uses: ['adopt'] }), 'foreign keys')[0], /^ok: 2 sessions of another library wait/)
  const shared = await examine(t, redis.url, { prefix: keyPrefix, uses: ['expressSession'] })
  t.match(shared.stored, { sessions: 3, foreign: { express: 0 } })
})

t.test('a large store is looked at by a sample that says so, and as a whole with full', async (t) => {
  const own = await startRedis(t)
  const store = await openStore(t, own.url, { prefix: 'sess:' })
  await begin(store, ...Array.from({ length: 2_500 }, (_, index) => index % 5 === 0 ? { userId: null, authenticatedAt: null } : { userId: `user-${index}` }))
  const sample = await examine(t, own.url)
  t.match(sample.stored, { isSample: true, sessions: 2_500, lists: 2_000, entries: { checked: 500 } })
  const { signedIn = 0, anonymous = 0 } = sample.stored ?? {}
  // Of 2,000 that are read a fifth is anonymous, give or take a twentieth.
  t.ok(Math.abs(signedIn - 2_000) < 125, String(signedIn))
  t.equal(signedIn + anonymous, 2_500)
  t.match(about(sample, 'sessions'), [/^ok: about 2,500 sessions .*By a sample of 4,500 of 4,500 keys: --full counts all$/])
  const seen: Array<[number, number | null]> = []
  const full = await examine(t, own.url, { full: true, onProgress: (...progress) => seen.push(progress) })
  t.match(full.stored, { isSample: false, sessions: 2_500, signedIn: 2_000, anonymous: 500, entries: { checked: 2_000 }, listed: { checked: 2_000, missing: 0 } })
  t.strictSame(seen.at(-1), [4_500, 4_500])
  t.ok(seen.length >= 4)
})

t.test('it reads in small steps, and writes nothing', async (t) => {
  const { store, keyPrefix } = await opened(t)
  await begin(store, ...Array.from({ length: 300 }, (_, index) => ({ userId: `user-${index % 7}` })))
  const wire = await startWire(t, redis)
  const patient = await patientAt(t, wire.url, { prefix: keyPrefix })
  wire.sent = ''
  await census(patient, { full: true, isShared: false, onProgress: () => {} })
  const commands = new Set([...wire.sent.matchAll(/\*\d+\r\n\$\d+\r\n([a-z]+)\r\n/gi)].map(([, name = '']) => name.toLowerCase()))
  t.strictSame([...commands].sort(), ['exists', 'getrange', 'info', 'memory', 'scan', 'zcount', 'zrangebyscore', 'zscore'])
  t.equal(wire.count('scan'), wire.sent.match(/COUNT\r\n\$3\r\n200\r\n/g)?.length)
  t.equal(wire.count('zrangebyscore'), wire.sent.match(/LIMIT\r\n\$1\r\n0\r\n\$3\r\n100\r\n/g)?.length)
})

t.test('the user of the guide, who may neither GETRANGE nor MEMORY, counts as well', async (t) => {
  const { store, keyPrefix } = await opened(t)
  await begin(store, ...Array.from({ length: 20 }, () => ({ userId: 'ada' })))
  await redis.client.call('ACL', 'SETUSER', 'guide', 'on', '>of-the-tests', `~${keyPrefix}*`, `~@${keyPrefix}*`, `~@{${keyPrefix}*`, ...'+get +exists +scan +zrange +zrangebyscore +zscore +zcount +time +ping +info +eval'.split(' '))
  const target = { host: '127.0.0.1', port: redis.port, username: 'guide', password: 'of-the-tests' }
  const { stored } = await examine(t, target, { prefix: keyPrefix })
  t.match(stored, { sessions: 20, signedIn: 20, entries: { checked: 20, orphans: 0 } })
  t.ok(Number(stored?.bytes) > 20 * 50)
  await redis.client.call('ACL', 'SETUSER', 'guide', '-scan')
  const without = await examine(t, target, { prefix: keyPrefix })
  t.match(about(without, 'sessions'), [/^note: counting what lies under the prefix is refused: NOPERM/])
  t.equal(without.stored, null)
})

t.test('in a Cluster every master is counted, and lists are compared across slots', async (t) => {
  const { nodes, client } = await startCluster(t)
  const store = await openStore(t, { cluster: nodes }, { prefix: 'sess:' })
  const [gone] = await begin(store, ...Array.from({ length: 60 }, (_, index) => ({ userId: `user-${index % 6}` })))
  await client.del(`sess:${gone?.id}`)
  const { stored } = await examine(t, { cluster: nodes })
  t.match(stored, { sessions: 59, lists: 6, entries: { checked: 60, orphans: 1 }, listed: { checked: 59, missing: 0 } })
})

t.test('a Redis that dies while it is counted is an error, and Ctrl+C ends the work', async (t) => {
  const dying = await startRedis(t)
  const store = await openStore(t, dying.url, { prefix: 'sess:' })
  await begin(store, ...Array.from({ length: 1_500 }, (_, index) => ({ userId: `user-${index}` })))
  const wire = await startWire(t, dying)
  const patient = await patientAt(t, wire.url)
  const interruption = new AbortController()
  let steps = 0
  await census(patient, { full: true, isShared: false, signal: interruption.signal, onProgress: () => { if (++steps === 2) interruption.abort() } })
  t.equal(steps, 2)
  await t.rejects(doctor(patient, { uses: [], full: true, onProgress: () => wire.loseAnswersAfter(1) }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await wire.mend()
  await until('the connection', () => patient.client.status === 'ready')
  const said = await operate(['doctor', '--redis', dying.url], { signal: AbortSignal.abort() })
  t.equal(said.code, 130)
})

t.test('users whose names could command a terminal', async (t) => {
  const { store, keyPrefix } = await opened(t)
  await begin(store, { userId: 'ada\u001b[2J' })
  const { out } = await operate(['doctor', '--redis', redis.url, '--prefix', keyPrefix])
  t.match(out, 'ada\\u001b[2J 1')
  t.notOk(out.includes('\u001b'))
})
