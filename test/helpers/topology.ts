import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import calculateSlot from 'cluster-key-slot'
import type { Redis } from 'ioredis'
import { handOverSteps } from './hand-over.ts'
import { newMember, newRedis } from './member.ts'
import type { Member } from './member.ts'
import { freePort, HOST, meet, until } from './redis.ts'
import type { Owner } from './redis.ts'

/** How long what was broken may take to be whole again. */
const HEALTHY_WITHIN_MS = 30_000
const NAME = 'sessions'
/** How long Sentinels wait by default before they call a server down. */
const CALM_DOWN_AFTER_MS = 30_000
/** How long they wait where a test makes a master fail. */
const WATCHFUL_DOWN_AFTER_MS = 1_000
/** How often Sentinels look at servers and tell each other by default. */
const UNHURRIED = { everyMs: 10_000, publishEveryMs: 2_000 }

/** Servers of which one takes over where another fails. */
abstract class Topology {
  readonly members: Member[]

  constructor (members: Member[]) {
    this.members = members
  }

  /** Those that say they are a master, as far as they answer. */
  async masters (): Promise<Member[]> {
    const roles = await Promise.all(this.members.filter(({ isUp }) => isUp).map(async (member) => ({ member, role: (await member.replication()).role })))
    return roles.filter(({ role }) => role === 'master').map(({ member }) => member)
  }

  /** The replicas that a master has. */
  async replicasOf (master: Member): Promise<Member[]> {
    const said = await master.replication()
    const ports = Object.entries(said).filter(([name]) => /^slave\d+$/.test(name)).map(([, value]) => Number(/port=(\d+)/.exec(value)?.[1]))
    return this.members.filter(({ port }) => ports.includes(port))
  }

  /**
   * From now on no replica hears what is written to this master, which goes on; `mend` once it is dead. Replicas that
   * are only stopped get what lies in their sockets as soon as they are resumed: their links have to be cut as well.
   */
  async cut (master: Member): Promise<() => void> {
    const replicas = await this.replicasOf(master)
    for (const replica of replicas) replica.freeze()
    await master.client.call('CLIENT', 'KILL', 'TYPE', 'replica')
    return () => { for (const replica of replicas) replica.resume() }
  }

  /** When another than `old` took the place of a master: says so itself, and takes writes. In ms as of `performance.now()`. */
  async takeover (old: Member, others: Member[]): Promise<{ at: number, master: Member }> {
    let master: Member | undefined
    await until('another master', async () => {
      master = (await this.masters()).find((member) => member !== old && others.includes(member))
      return master !== undefined
    }, HEALTHY_WITHIN_MS)
    return { at: performance.now(), master: master as Member }
  }

  /** When a replica follows this master. In ms as of `performance.now()`. */
  async followed (master: Member): Promise<number> {
    await until('a replica to follow', async () => {
      const said = await master.replication()
      return Object.entries(said).some(([name, value]) => /^slave\d+$/.test(name) && value.includes('state=online'))
    }, HEALTHY_WITHIN_MS)
    return performance.now()
  }

  /** Waits until all replicas are there, have all, and everybody agrees on the masters. */
  abstract healthy (): Promise<void>
}

/** One master, two replicas, and three Sentinels, who are calm until a test is about to make the master fail. */
export class SentinelTopology extends Topology {
  readonly sentinels: Member[]
  /** What the `redis` option takes. */
  readonly target: { sentinels: Array<{ host: string, port: number }>, name: string }

  constructor (members: Member[], sentinels: Member[]) {
    super(members)
    this.sentinels = sentinels
    this.target = { sentinels: sentinels.map(({ port }) => ({ host: HOST, port })), name: NAME }
  }

  /** Whom the Sentinels name, once they are of one mind. */
  async master (): Promise<Member> {
    let ports: unknown[] = []
    await until('the Sentinels to be of one mind', async () => {
      ports = await Promise.all(this.sentinels.filter(({ isUp }) => isUp).map(async ({ client }) => (await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME) as [string, string])[1]))
      return new Set(ports).size === 1
    }, HEALTHY_WITHIN_MS)
    return this.members.find(({ port }) => String(port) === ports[0]) as Member
  }

  /** Tells a Sentinel to have another take over, and does nothing for those who use the old one. */
  async failover (): Promise<void> {
    const [sentinel] = this.sentinels
    await until('a Sentinel that can', async () => await tookOrder((sentinel as Member).client.call('SENTINEL', 'FAILOVER', NAME)), HEALTHY_WITHIN_MS)
  }

  /** Waits until each Sentinel has told that it left `old`; from then on, and until `healthy`, none makes a replica of it. */
  async switched (old: Member): Promise<void> {
    const hasLeft = async ({ client }: Member): Promise<boolean> => pairs(await client.call('SENTINEL', 'MASTER', NAME) as string[]).port !== String(old.port)
    await until('each Sentinel to leave the old master', async () => (await Promise.all(this.sentinels.map(hasLeft))).every(Boolean), HEALTHY_WITHIN_MS)
    // They do so when it takes itself for the master for longer than four of these.
    await this.#look({ everyMs: UNHURRIED.everyMs, publishEveryMs: 60_000 })
  }

  /** Has a replica take over from the master, in the way that docs/guides/planned-failover.md gives to operators. `begins` is called before writes stop. */
  async handOver (master: Member, begins = () => {}): Promise<void> {
    const [next] = await this.replicasOf(master) as [Member]
    const values = { $MASTER: HOST, $NEXT: HOST, $NAME: NAME, 6379: String(next.port) }
    // An operator waits until the Sentinels have looked; here they look at once, and only for that.
    await this.#look({ everyMs: 100, publishEveryMs: 2_000 })
    for (const { server, everySentinel, command } of handOverSteps(values)) {
      if (command[0] === 'FAILOVER') {
        await this.#look(UNHURRIED)
        begins()
      }
      const servers = { MASTER: [master], NEXT: [next], SENTINEL: everySentinel ? this.sentinels : this.sentinels.slice(0, 1) }[server]
      await Promise.all(servers.map(async ({ client }) => await until(command.join(' '), async () => await isDone(client, command, next), HEALTHY_WITHIN_MS)))
    }
  }

  /**
   * Brings back who was killed, and makes of who was resumed what he is now: a replica of the one that took over from
   * `old`. On a busy machine that need not be the first one: a Sentinel that waits too long for it tries another.
   */
  async repair (old: Member): Promise<void> {
    await this.calm()
    let master = old
    await until('the Sentinels to name who took over', async () => {
      master = await this.master()
      return master !== old && master.isUp
    }, HEALTHY_WITHIN_MS)
    for (const member of this.members) {
      if (member === master) continue
      // Not to be promoted before it has all: a Sentinel may change its mind once more.
      if (!member.isUp) await member.start('--replicaof', HOST, String(master.port), '--replica-priority', '0')
      else await member.client.replicaof(HOST, master.port)
    }
    await this.healthy()
    await Promise.all(this.members.map(({ client }) => client.config('SET', 'replica-priority', 100)))
  }

  async healthy (): Promise<void> {
    // While nobody measures, they may look at each other more often than they do by default.
    await this.#look({ everyMs: 100, publishEveryMs: 100 })
    await until('replicas in sync, and Sentinels that agree', async () => {
      const master = await this.master()
      return await isInSync(master, this.members.length - 1) && (await Promise.all(this.sentinels.map((sentinel) => agrees(sentinel, master, this)))).every(Boolean)
    }, HEALTHY_WITHIN_MS)
    await this.#look(UNHURRIED)
  }

  /** Has the Sentinels replace a master soon. To be called just before it fails. */
  async watch (): Promise<void> {
    await this.#callDownAfter(WATCHFUL_DOWN_AFTER_MS)
  }

  /**
   * Has the Sentinels wait for as long as they do by default before they replace a master, and resolves when none is
   * about to. On a busy machine they would replace the new master as well, while it and the old one that comes back
   * confirm to each other what is lost then.
   */
  async calm (): Promise<void> {
    await this.#callDownAfter(CALM_DOWN_AFTER_MS)
    const areCalm = async (): Promise<boolean> => {
      const seen = await Promise.all(this.sentinels.map(({ client }) => client.call('SENTINEL', 'MASTER', NAME) as Promise<string[]>))
      return seen.every((fields) => pairs(fields).flags === 'master')
    }
    await until('Sentinels that leave the master alone', areCalm, HEALTHY_WITHIN_MS)
  }

  async #callDownAfter (ms: number): Promise<void> {
    await Promise.all(this.sentinels.map(({ client }) => client.call('SENTINEL', 'SET', NAME, 'down-after-milliseconds', ms)))
  }

  async #look ({ everyMs, publishEveryMs }: { everyMs: number, publishEveryMs: number }): Promise<void> {
    await Promise.all(this.sentinels.map(({ client }) => client.call('SENTINEL', 'DEBUG', 'INFO-PERIOD', everyMs, 'PUBLISH-PERIOD', publishEveryMs)))
  }
}

export async function startSentinels (t: Owner): Promise<SentinelTopology> {
  const members = await Promise.all([newRedis(t), newRedis(t), newRedis(t)])
  const [master, ...replicas] = members as [Member, Member, Member]
  await master.start()
  await Promise.all(replicas.map((replica) => replica.start('--replicaof', HOST, String(master.port))))
  const sentinels = await Promise.all([1, 2, 3].map(() => newMember(t, async (_port, directory) => {
    const file = join(directory, 'sentinel.conf')
    await writeFile(file, [
      `sentinel monitor ${NAME} ${HOST} ${master.port} 2`,
      `sentinel down-after-milliseconds ${NAME} ${CALM_DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${NAME} 3000`,
      `sentinel parallel-syncs ${NAME} 2`,
      ''
    ].join('\n'))
    return [file, '--sentinel']
  })))
  await Promise.all(sentinels.map((sentinel) => sentinel.start()))
  const topology = new SentinelTopology(members, sentinels)
  await topology.healthy()
  return topology
}

/** Three masters, a replica of each, and every slot served. */
export class ClusterTopology extends Topology {
  /** What the `redis` option takes. */
  readonly target: { cluster: Array<{ host: string, port: number }> }
  /** For how long a member does not stand for another election. */
  readonly #electionMs: number
  /** When each member was seen to have taken over last. */
  readonly #electedAt = new Map<Member, number>()

  /** `nodeTimeoutMs` as the nodes were started with. */
  constructor (members: Member[], nodeTimeoutMs: number) {
    super(members)
    this.#electionMs = 4 * nodeTimeoutMs
    this.target = { cluster: members.map(({ port }) => ({ host: HOST, port })) }
  }

  /** Who holds a slot, by what a majority would say: the masters alone know. */
  async masterOf (slot: number): Promise<Member> {
    for (const member of await this.masters()) {
      const [first] = await slotsOf(member)
      if (first !== undefined && first.some(([from, to]) => from <= slot && slot <= to)) return member
    }
    throw new Error(`nobody holds slot ${slot}`)
  }

  async masterOfKey (key: string): Promise<Member> {
    return await this.masterOf(calculateSlot(key))
  }

  async idOf (member: Member): Promise<string> {
    return await member.client.call('CLUSTER', 'MYID') as string
  }

  /** Gives slots of one master to another, with all that is in them, one by one as `redis-cli --cluster reshard` does. */
  async move (slots: number[], from: Member, to: Member): Promise<void> {
    const [fromId, toId] = await Promise.all([this.idOf(from), this.idOf(to)])
    for (const slot of slots) {
      await to.client.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId)
      await from.client.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId)
      for (;;) {
        const keys = await from.client.call('CLUSTER', 'GETKEYSINSLOT', slot, 10) as string[]
        if (keys.length === 0) break
        await from.client.call('MIGRATE', HOST, to.port, '', 0, 5_000, 'KEYS', ...keys)
      }
      await to.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId)
      await from.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId)
    }
  }

  override async takeover (old: Member, others: Member[]): Promise<{ at: number, master: Member }> {
    const taken = await super.takeover(old, others)
    this.#electedAt.set(taken.master, taken.at)
    return taken
  }

  /** Has a replica of the master take over, without an outage. */
  async failover (master: Member): Promise<void> {
    const [replica] = await this.replicasOf(master) as [Member]
    // A replica that won an election a moment ago counts the same votes again: it takes over without an epoch of its
    // own, is a replica again at once, and its master takes no writes for five seconds. A little later it only waits,
    // and its master as well.
    const electableAt = (this.#electedAt.get(replica) ?? -Infinity) + this.#electionMs
    await until('the replica to forget its last election', () => performance.now() > electableAt)
    // The other masters do not vote about one master twice within seconds.
    await until('a vote for the replica', async () => {
      await replica.client.call('CLUSTER', 'FAILOVER').catch(() => {})
      return await until('its role', async () => (await replica.replication()).role === 'master', 2_000).then(() => true, () => false)
    }, HEALTHY_WITHIN_MS)
  }

  /** Brings back who was killed: it learns what it is now. */
  async repair (): Promise<void> {
    await Promise.all(this.members.filter(({ isUp }) => !isUp).map((member) => member.start()))
    await this.healthy()
  }

  async healthy (): Promise<void> {
    await until('a whole Cluster', async () => await unlessLoading(async () => {
      const masters = await this.masters()
      if (masters.length !== this.members.length / 2) return false
      const states = await Promise.all(this.members.map(async ({ client }) => {
        const info = await client.call('CLUSTER', 'INFO') as string
        return info.includes('cluster_state:ok') && info.includes('cluster_slots_ok:16384') && info.includes('cluster_size:3\r') && !/fail|handshake/.test(await client.call('CLUSTER', 'NODES') as string)
      }))
      // Or else what one has not heard of is undone by the next failover, with the master paused for ten seconds.
      const views = new Set(await Promise.all(this.members.map(viewOf)))
      return views.size === 1 && states.every(Boolean) && (await Promise.all(masters.map((master) => isInSync(master, 1)))).every(Boolean)
    }), HEALTHY_WITHIN_MS)
  }
}

export async function startReplicatedCluster (t: Owner, { nodeTimeoutMs = 1_500 }: { nodeTimeoutMs?: number } = {}): Promise<ClusterTopology> {
  const members = await Promise.all(Array.from({ length: 6 }, async () => await newRedis(t, [
    '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--cluster-node-timeout', String(nodeTimeoutMs), '--cluster-config-file', 'nodes.conf',
    '--cluster-require-full-coverage', 'no', '--cluster-allow-replica-migration', 'no', '--cluster-replica-validity-factor', '0'
  ])))
  await Promise.all(members.map((member) => member.start()))
  const slotsEach = Math.ceil(16384 / 3)
  await Promise.all(members.map(async ({ client }, index) => {
    if (index < 3) await client.call('CLUSTER', 'ADDSLOTSRANGE', index * slotsEach, Math.min((index + 1) * slotsEach, 16384) - 1)
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
  }))
  await meet(await Promise.all(members.map(async ({ port, client }) => ({
    port, client, bus: Number((await client.config('GET', 'cluster-port') as string[])[1])
  }))))
  const topology = new ClusterTopology(members, nodeTimeoutMs)
  for (const [index, master] of members.slice(0, 3).entries()) {
    const id = await topology.idOf(master)
    const replica = members[index + 3] as Member
    await until('the master to be known', async () => await replica.client.call('CLUSTER', 'REPLICATE', id).then(() => true, () => false))
  }
  await topology.healthy()
  return topology
}

/** What is asked of members, `false` while one reads its data: that may begin again at any time, with all that its master has. */
async function unlessLoading (ask: () => Promise<boolean>): Promise<boolean> {
  return await ask().catch((error: Error) => {
    if (error.message.startsWith('LOADING ')) return false
    throw error
  })
}

/** Who is what, since which epoch, and holds which slots, as this one sees it. */
async function viewOf ({ client }: Member): Promise<string> {
  const nodes = (await client.call('CLUSTER', 'NODES') as string).trim().split('\n').map((line) => line.split(' '))
  return nodes.map(([id, , flags, master, , , epoch, , ...slots]) => [id, flags?.replace('myself,', ''), master, epoch, ...slots].join()).sort().join('\n')
}

/** The ranges of slots of each master, this one's first. */
async function slotsOf (member: Member): Promise<Array<Array<[number, number]>>> {
  const nodes = (await member.client.call('CLUSTER', 'NODES') as string).trim().split('\n').map((line) => line.split(' '))
  const own = nodes.filter(([, , flags]) => flags?.includes('myself'))
  return own.map((fields) => fields.slice(8).filter((field) => !field.startsWith('[')).map((field) => {
    const [from, to = from] = field.split('-').map(Number)
    return [from as number, to as number]
  }))
}

/** That a replica is online means that it has all but what was written a moment ago. */
async function isInSync (master: Member, replicas: number): Promise<boolean> {
  const said = await master.replication()
  const lines = Object.entries(said).filter(([name]) => /^slave\d+$/.test(name)).map(([, value]) => value)
  return said.role === 'master' && lines.length === replicas && lines.every((line) => line.includes('state=online'))
}

/** Fields and values as Sentinels list them. */
function pairs (fields: string[]): Record<string, string> {
  return Object.fromEntries(fields.flatMap((field, index) => index % 2 === 0 ? [[field, fields[index + 1] ?? '']] : []))
}

/** Whether a Sentinel took an order; it refuses while it is at another, or has not seen a replica for a while. */
async function tookOrder (order: Promise<unknown>): Promise<boolean> {
  return await order.then(() => true, (error: Error) => {
    if (!/INPROG|NOGOODSLAVE/.test(error.message)) throw error
    return false
  })
}

/** Sends a command of the recipe. Returns whether its answer lets the operator go on to the next one. */
async function isDone (client: Redis, command: string[], next: Member): Promise<boolean> {
  const [name, ...args] = command as [string, ...string[]]
  const answer = client.call(name, ...args)
  switch (`${name} ${args[0] ?? ''}`.trim()) {
    case 'ROLE': {
      const [role, , , state] = await answer as string[]
      return role === 'slave' && state === 'connected'
    }
    case 'SENTINEL FAILOVER': return await tookOrder(answer)
    case 'SENTINEL GET-MASTER-ADDR-BY-NAME': return (await answer as string[])[1] === String(next.port)
    case 'SENTINEL REPLICAS': return (await answer as string[][]).map(pairs).some((replica) => replica.port === String(next.port) && replica['slave-priority'] === '1')
    default: await answer
  }
  return true
}

async function agrees (sentinel: Member, master: Member, { members, sentinels }: SentinelTopology): Promise<boolean> {
  const seen = pairs(await sentinel.client.call('SENTINEL', 'MASTER', NAME) as string[])
  const replicas = (await sentinel.client.call('SENTINEL', 'REPLICAS', NAME) as string[][]).map(pairs)
  return seen.port === String(master.port) && seen.flags === 'master' && seen['num-other-sentinels'] === String(sentinels.length - 1) &&
    replicas.length === members.length - 1 && replicas.every(({ flags }) => flags === 'slave')
}
