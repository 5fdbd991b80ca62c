import type { Cluster } from 'ioredis'
import t from 'tap'
import { connect, disconnect } from '../../lib/redis/connection.ts'
import { UserLists } from '../../lib/redis/user-lists.ts'
import { storeContract } from '../contract/store-contract.ts'
import { MINUTE, record } from '../helpers/record.ts'
import { prefix, startCluster, until } from '../helpers/redis.ts'
import { age, openStore } from '../helpers/redis-store.ts'
import { beginMove } from '../helpers/slots.ts'

const cluster = await startCluster(t)
const target = { cluster: cluster.nodes }

for (const [name, before] of [['RedisStore on a Cluster', ''], ['RedisStore on a Cluster under one hash tag', '{app}']] as const) {
  storeContract(t, name, async (t) => {
    const ours = before + prefix()
    const store = await openStore(t, target, { prefix: ours })
    return {
      store,
      other: await openStore(t, target, { prefix: ours }),
      age: (ms) => age(cluster.client, ours, ms),
      lose: async (id) => { await cluster.client.del(`${ours}${id}`) }
    }
  }, { isCombination: before !== '' })
}

t.test('when a master is gone, what needs all of them says so instead of leaving out what is on it', async (t) => {
  const broken = await startCluster(t)
  const store = await openStore(t, { cluster: broken.nodes }, { prefix: prefix() })
  for (let each = 0; each < 30; each++) await store.begin(record({ now: store.now(), userId: `user ${each}` }))
  await store.ping()
  await broken.client.nodes('master')[0]?.call('SHUTDOWN', 'NOSAVE').catch(() => {})
  await t.rejects(store.ping(), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  const listed: string[] = []
  await t.rejects((async () => { for await (const { id } of store.listAll()) listed.push(id) })(), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.ok(listed.length < 30)
})

t.test('a Cluster that is closed while it connects stays closed, whatever it hears then', async (t) => {
  const { client } = connect(target)
  const said: string[] = []
  for (const event of ['ready', 'reconnecting', 'end']) client.on(event, () => said.push(event))
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  // In the very turn in which it begins to ask for its slots: a moment later it knows.
  while (client.listenerCount('refresh') === 0 && client.status === 'connecting') await new Promise((resolve) => setImmediate(resolve))
  t.equal(client.listenerCount('refresh'), 1)
  await disconnect(client)
  client.emit('refresh')
  await until('the end', () => said.includes('end'))
  t.strictSame(said, ['end'])
  t.strictSame((client as Cluster).nodes(), [])
})

t.test('a Cluster that is closed while it looks again where its slots are does not look once more', async (t) => {
  const { client } = connect(target)
  if (!('nodes' in client)) throw new Error('no Cluster')
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  client.options.slotsRefreshInterval = 1
  await until('the connection', () => client.status === 'ready')
  const refresh = client.refreshSlotsCache.bind(client)
  await new Promise<void>((resolve) => {
    client.refreshSlotsCache = (callback) => {
      refresh(callback)
      resolve()
    }
  })
  // Its nodes may say goodbye sooner than one of them says where the slots are.
  client.quit = async () => 'OK'
  await disconnect(client)
  await new Promise<void>((resolve) => refresh(() => resolve()))
  // Private by the driver's types. A timer would keep the process from ending.
  t.notOk((client as unknown as { slotsTimer?: NodeJS.Timeout | null }).slotsTimer)
})

t.test('a slot that is long on its way keeps waiting whoever needs both of its halves, and nobody else', async (t) => {
  const ours = prefix()
  const store = await openStore(t, target, { prefix: ours })
  const session = record({ now: store.now() })
  await store.begin(session)
  const outages: unknown[] = []
  store.events.on('down', (cause) => outages.push(cause))
  const move = await beginMove(cluster.client, `${ours}${session.id}`)
  // What lies beside the session is on neither side: the one has it ask the other, and that one says to wait.
  await t.rejects(store.delete(session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE', cause: { message: /^Too many Cluster redirections/ } })
  t.strictSame(await store.find(session.id), session)
  t.strictSame(outages, [], 'the node answers')
  const ended = store.delete(session.id)
  await move.callOff()
  t.strictSame(await ended, session, 'whoever waits is served when it has arrived')
})

t.test('while the slot of a list moves, what empties the list does not fail halfway', async (t) => {
  /** A user's list of expired sessions, on its way to another master. */
  const openMoving = async (count: number) => {
    const ours = prefix()
    const store = await openStore(t, target, { prefix: ours })
    const sessions = Array.from({ length: count }, () => record({ now: store.now() }))
    await Promise.all(sessions.map(async (each) => await store.begin(each)))
    await age(cluster.client, ours, 31 * MINUTE)
    const told: string[] = []
    store.events.on('ended', (id, _userId, reason) => told.push(reason === 'expired' ? id : `${id}: ${reason}`))
    const move = await beginMove(cluster.client, `@${ours}user:ada`)
    t.teardown(move.callOff)
    return { store, ids: sessions.map(({ id }) => id).sort(), told }
  }

  for (const count of [1, 300]) {
    t.test(`where its user signs in, after ${count} sessions`, async (t) => {
      const { store, ids, told } = await openMoving(count)
      const next = record({ now: store.now() })
      await store.begin(next)
      t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [next.id])
      t.strictSame(told.sort(), ids)
    })

    t.test(`where ${count} sessions are asked for`, async (t) => {
      const { store, ids, told } = await openMoving(count)
      t.strictSame(await store.listByUser('ada'), [])
      t.strictSame(told.sort(), ids)
    })
  }

  t.test('where nothing is on it but a login under way', async (t) => {
    const ours = prefix()
    const list = `@${ours}user:ada`
    const soon = String(Date.now() + MINUTE)
    await cluster.client.zadd(list, soon, '+new:1')
    const move = await beginMove(cluster.client, list)
    t.teardown(move.callOff)
    // The script itself, as a list that is not there yet would begin at the other node.
    t.strictSame(await cluster.client.eval(UserLists.confirmScript.lua, 1, list, '+new:1', 'new:1', soon, '0', 'evict', '', ''), [1, [], []])
    t.strictSame(await cluster.client.zrange(list, '0', '-1'), ['new:1'])
  })
})
