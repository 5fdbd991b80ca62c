import t from 'tap'
import type { Test } from 'tap'
import { Keys } from '../../lib/redis/keys.ts'
import { Records } from '../../lib/redis/records.ts'
import type { RedisStoreBase } from '../../lib/redis/store.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { keysOf, openStore } from '../helpers/redis-store.ts'
import { Gate } from '../helpers/spy-store.ts'
import { openBroken } from '../helpers/stepping-wire.ts'

const redis = await startRedis(t)

const idp = JSON.stringify(['https://idp.example', 'here'])

type Place = 'announced' | 'written' | 'listed'

/** Sessions that wait on their way to be live, and begin at once when `gates` is empty. */
class HeldRecords extends Records {
  readonly gates = new Map<Place, Gate>()

  constructor ({ link, keys }: RedisStoreBase) {
    super(link, keys, { persist: false })
  }

  override async setPending (session: SessionRecord, mode: 'NX' | 'XX'): Promise<void> {
    await this.gates.get('announced')?.pass()
    await super.setPending(session, mode)
    await this.gates.get('written')?.pass()
  }

  override async activate (session: SessionRecord): Promise<boolean> {
    await this.gates.get('listed')?.pass()
    return await super.activate(session)
  }
}

/** Two processes with the same sessions. `hold` makes what begins in the first one wait. */
async function openBoth (t: Test) {
  const keyPrefix = prefix()
  const held: HeldRecords[] = []
  const store = await openStore(t, redis.url, { prefix: keyPrefix }, {
    records: (base) => {
      const records = new HeldRecords(base)
      held.push(records)
      return records
    }
  })
  const hold = (where: Place): Gate => {
    const gate = new Gate()
    for (const each of held) each.gates.set(where, gate)
    return gate
  }
  return { store, other: await openStore(t, redis.url, { prefix: keyPrefix }), hold, keyPrefix }
}

for (const where of ['announced', 'written', 'listed'] as const) {
  t.test(`a sign-in that is ${where} when its session at the provider ends begins no session`, async (t) => {
    const { store, other, hold, keyPrefix } = await openBoth(t)
    const gate = hold(where)
    const session = record({ now: store.now(), idp })
    const login = store.begin(session)
    await gate.reached
    await until('the announcement', async () => await redis.client.exists(new Keys(keyPrefix).idp(idp)) === 1)
    t.strictSame(await other.deleteByIdp(idp), [], 'it is not live yet')
    gate.open()
    t.equal(await login, null)
    t.equal(await other.find(session.id), null)
    t.strictSame(await keysOf(redis.client, keyPrefix), [], 'nothing of it is left')
  })

  t.test(`a session that is on its way to a new id, and ${where}, when its session at the provider ends lives under neither`, async (t) => {
    const { store, other, hold, keyPrefix } = await openBoth(t)
    const old = record({ now: store.now(), idp })
    const moved = { ...old, id: record().id }
    await store.begin(old)
    const gate = hold(where)
    const move = store.move(moved, old)
    await gate.reached
    await until('the announcement', async () => await redis.client.zcard(new Keys(keyPrefix).idp(idp)) > 1)
    await other.deleteByIdp(idp)
    gate.open()
    t.equal(await move, null)
    for (const { id } of [old, moved]) t.equal(await other.find(id), null)
    t.strictSame(await other.listByUser('ada'), [])
  })
}

t.test('a sign-in that began after its session at the provider was ended here is none of those', async (t) => {
  const { store, other } = await openBoth(t)
  await other.deleteByIdp(idp)
  const session = record({ now: store.now(), idp })
  t.ok(await store.begin(session))
  t.match(await other.find(session.id), { id: session.id })
})

t.test('what was broken off at any command ends all when it is tried again', async (t) => {
  withRealLimits(t)
  for (const command of [1, 2, 3, 4, 5, 6, 7]) {
    const { wire, broken, store } = await openBroken(t, redis)
    const sessions = [record({ now: store.now(), idp }), record({ now: store.now(), idp })]
    for (const each of sessions) await store.begin(each)
    wire.stopAt({ command, mode: 'unsent' })
    await t.rejects(broken.deleteByIdp(idp), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    t.ok(wire.isReached, `broken off at command ${command}`)
    await store.deleteByIdp(idp)
    for (const { id } of sessions) t.equal(await store.find(id), null)
    t.strictSame(await store.listByUser('ada'), [])
  }
})
