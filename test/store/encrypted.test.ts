import t from 'tap'
import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import { EncryptedStore } from '../../lib/store/encrypted.ts'
import type { EncryptionOptions } from '../../lib/store/encrypted.ts'
import { MemoryStore } from '../../lib/store/memory.ts'
import type { RedisStore } from '../../lib/redis/store.ts'
import { Sealer } from '../../lib/store/sealer.ts'
import { storeContract } from '../contract/store-contract.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { age, keysOf, openStore } from '../helpers/redis-store.ts'

const redis = await startRedis(t)
const KEY = 'k'.repeat(32)
const OLD = 'o'.repeat(32)

storeContract(t, 'MemoryStore with encrypted data', () => {
  let now = Date.now()
  return { store: new EncryptedStore(new MemoryStore({ now: () => now }), { keys: [KEY], acceptPlain: false }), age: (ms) => { now += ms } }
})

storeContract(t, 'RedisStore with encrypted data', async (t) => {
  const ours = prefix()
  const open = async () => new EncryptedStore(await openStore(t, redis.url, { prefix: ours }), { keys: [KEY], acceptPlain: false })
  return {
    store: await open(),
    other: await open(),
    age: (ms) => age(redis.client, ours, ms),
    lose: async (id) => { await redis.client.del(`${ours}${id}`) }
  }
}, { isCombination: true })

/** Sessions in Redis under these keys, and how to open them again under others. */
async function openSessions (t: Test, options: Partial<EncryptionOptions> = {}) {
  const keyPrefix = prefix()
  const plain: RedisStore = await openStore(t, redis.url, { prefix: keyPrefix })
  const unreadable: string[] = []
  plain.events.on('unreadable', (id) => unreadable.push(id))
  const under = (others: Partial<EncryptionOptions>) => new EncryptedStore(plain, { keys: [KEY], acceptPlain: false, ...others })
  const raw = async (id: string): Promise<[head: string, data: string]> => (await redis.client.get(keyPrefix + id) as string).split('\n') as [string, string]
  const write = async (id: string, lines: [head: string, data: string]) => { await redis.client.set(keyPrefix + id, lines.join('\n'), 'KEEPTTL') }
  return { keyPrefix, plain, unreadable, under, store: under(options), raw, write, make: (of: Partial<SessionRecord> = {}) => record({ now: plain.now(), ...of }) }
}

t.test('nothing of a session\'s data is in Redis, and nothing of a change', async (t) => {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), encryption: { keys: [KEY] } })
  app.post('/cart', async ({ session }) => {
    session.cart = [...session.cart as string[] ?? [], 'a-very-rare-book']
    return session.cart
  })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }, { keep: true }))
  const ada = new Browser(app)
  await ada.post('/cart')
  await ada.post('/login')
  t.strictSame((await ada.post('/cart')).json(), ['a-very-rare-book', 'a-very-rare-book'])
  const { id } = (await app.sessions.listByUser('ada'))[0] ?? { id: '' }
  t.strictSame(await app.sessions.data(id), { userId: 'ada', cart: ['a-very-rare-book', 'a-very-rare-book'] })
  const keys = await keysOf(redis.client, id)
  t.equal(keys.length, 1)
  const stored = await redis.client.get(keys[0] as string) as string
  t.notMatch(stored, /rare|book|cart|userId/)
  t.match(stored, '"u":"ada"', 'who is signed in is no data: users are listed by it')
})

t.test('data under another session, and a session under another user or token, is no session', async (t) => {
  const { store, raw, write, make, unreadable, plain } = await openSessions(t)
  const hers = make({ data: '{"role":"admin"}' })
  const his = make({ userId: 'bob', data: '{"role":"guest"}' })
  for (const each of [hers, his]) await store.begin(each)
  const [[herHead, herData], [hisHead, hisData]] = [await raw(hers.id), await raw(his.id)]
  const tampered: Record<string, [string, string]> = {
    'the data of another': [hisHead, herData],
    'another user': [hisHead.replace('"u":"bob"', '"u":"ada"'), hisData],
    'another token': [hisHead.replace(his.secretHash, hers.secretHash.replace(/./, '_')), hisData],
    'a bearer token': [hisHead.replace(/}$/, ',"k":1}'), hisData],
    'all of another': [herHead, herData],
    'no encryption': [hisHead, '{"role":"admin"}'],
    // Not in the last character: some of its bits may be padding, which says nothing.
    'one character': [hisHead, hisData.replace(/.(?=."}$)/, (one) => one === 'A' ? 'B' : 'A')],
    'half of it': [hisHead, hisData.replace(/.{20}(?="}$)/, '')],
    'nothing in it': [hisHead, '{"sealed":"aaaaaa."}'],
    'a key that is not there': [hisHead, hisData.replace(/"sealed":".{6}/, '"sealed":"aaaaaa')]
  }
  for (const [what, lines] of Object.entries(tampered)) {
    await write(his.id, lines)
    unreadable.length = 0
    t.equal(await store.find(his.id), null, what)
    t.strictSame(unreadable, [his.id], what)
    for (const userId of ['ada', 'bob']) t.notOk((await store.listByUser(userId)).some(({ id }) => id === his.id), what)
    // Who has read it before may go on writing; nobody reads what comes of it.
    if (lines[0] === hisHead || lines[0] === herHead) t.equal(await store.update(his, () => '{}'), null, what)
    else await store.update(his, () => '{}')
    t.equal(await store.find(his.id), null, what)
  }
  await write(his.id, [hisHead, hisData])
  t.strictSame(await store.find(his.id), his)
  await write(his.id, tampered['the data of another'] as [string, string])
  t.strictSame(await store.deleteByUser('bob'), [his.id], 'what cannot be read can be ended')
  t.equal(await plain.find(his.id), null)
})

t.test('a new key ends no session, and seals what is changed from then on', async (t) => {
  const { under, raw, make } = await openSessions(t)
  const session = make({ data: '{"cart":1}' })
  await under({ keys: [OLD] }).begin(session)
  const rotated = under({ keys: [KEY, OLD] })
  t.strictSame(await rotated.find(session.id), session)
  const sealed = (await raw(session.id))[1]
  const changed = await rotated.update(session, (data) => data.replace('1', '2'))
  t.equal(changed?.data, '{"cart":2}')
  t.not((await raw(session.id))[1].slice(0, 18), sealed.slice(0, 18))
  t.equal((await under({ keys: [KEY] }).find(session.id))?.data, '{"cart":2}')
  t.equal(await under({ keys: [OLD] }).find(session.id), null)
})

t.test('a session that is replaced under a new key takes its data along, also what others change meanwhile', async (t) => {
  const { under, make } = await openSessions(t)
  const before = make({ userId: null, data: '{"cart":1}' })
  await under({ keys: [OLD] }).begin(before)
  const rotated = under({ keys: [KEY, OLD] })
  await under({ keys: [OLD] }).update(before, () => '{"cart":1,"late":true}')
  const after = make({ data: '{"cart":1}' })
  t.equal((await rotated.replace(after, before, { carry: (ended) => ended.replace('}', ',"carried":1}') }))?.data, '{"cart":1,"late":true,"carried":1}')
  t.equal((await rotated.find(after.id))?.data, '{"cart":1,"late":true,"carried":1}')
})

t.test('sessions of before there was encryption are read where that is asked for, and sealed with their next change', async (t) => {
  const { plain, under, raw, make } = await openSessions(t)
  const session = make({ data: '{"cart":1}' })
  await plain.begin(session)
  t.equal(await under({}).find(session.id), null)
  const accepting = under({ acceptPlain: true })
  t.strictSame(await accepting.find(session.id), session)
  await accepting.update(session, () => '{"cart":2}')
  t.match((await raw(session.id))[1], /^\{"sealed":/)
  t.equal((await under({}).find(session.id))?.data, '{"cart":2}')
})

t.test('what is sealed twice looks the same, for another owner, another text or another key it does not', async (t) => {
  const sealer = new Sealer([KEY])
  const sealed = sealer.seal('ada', '{"cart":1}')
  t.equal(sealer.seal('ada', '{"cart":1}'), sealed)
  t.equal(sealer.open('ada', sealed), '{"cart":1}')
  t.equal(sealer.open('bob', sealed), null)
  const others = [sealer.seal('bob', '{"cart":1}'), sealer.seal('ada', '{"cart":2}'), new Sealer([OLD]).seal('ada', '{"cart":1}'), sealer.seal('ada{', '"cart":1}')]
  t.equal(new Set([sealed, ...others].map((each) => each.slice(18, 34))).size, 5, 'no two texts have one IV')
  for (const garbage of ['', '{}', '{"sealed":"x"}', `{"sealed":"${'a'.repeat(6)}.${'b'.repeat(100)}"}`, sealed + ' ', sealed.slice(1)]) t.equal(sealer.open('ada', garbage), null)
})
