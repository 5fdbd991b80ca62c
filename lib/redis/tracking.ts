import type { Cluster, Redis } from 'ioredis'
import type { Changes } from '../near/cache.ts'
import { pausesSoFar } from '../util/pauses.ts'
import { CONNECT_TIMEOUT_MS, TRACKING_RETRY_MS } from '../util/timings.ts'
import { connectedMasters } from './cluster.ts'
import { duplicate, isCluster, listenerPause } from './connection.ts'
import { isLasting, withoutCommand } from './driver.ts'
import type { Keys } from './keys.ts'
import type { RedisLink } from './link.ts'

/** Channel on which Redis sends the keys that have changed, on a connection of RESP2. */
const CHANNEL = '__redis__:invalidate'
/** How often each server is pinged within the silence that is allowed. */
const PINGS_PER_SILENCE = 3
const NO_RUN_ID = 'ERR INFO names no run_id: nobody can tell whether it is the server that is read from'

/**
 * Hears what changes in Redis, whoever changes it: over one line to each master that holds keys. Trusted while all
 * lines are: a slot may be moving from any master to any.
 */
export class Tracking implements Changes {
  #trustedUntil = 0
  /** How often the machine had been paused when the lines were last trusted. */
  #pauses = pausesSoFar()
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #silenceMs: number
  readonly #lines = new Map<string, { node: Redis, line: TrackingLine }>()
  /** Masters that answer for slots, as far as is known, and for which ones. */
  #owners: { names: string[], text: string } = { names: [], text: '' }
  #pinging: NodeJS.Timeout | undefined
  #onChange: (id: string) => void = () => {}
  #onGap: () => void = () => {}
  /** Resolves `listen`; `null` once that is done. */
  #onOutcome: ((outcome: Error | null) => void) | null = null
  /** The operator knows already that Redis refuses. */
  #isRefused = false
  readonly #onTopology = (): void => this.#matchLines()

  /** `silenceMs`: how long nothing may be heard of a server before it is not trusted. */
  constructor (link: RedisLink, keys: Keys, silenceMs: number) {
    this.#link = link
    this.#keys = keys
    this.#silenceMs = silenceMs
  }

  get trustedUntil (): number {
    // Nothing is heard while the machine is paused: messages of that time may not have been read yet.
    if (this.#trustedUntil !== 0 && pausesSoFar() !== this.#pauses) this.#distrust()
    return this.#trustedUntil
  }

  async listen (onChange: (id: string) => void, onGap: () => void): Promise<Error | null> {
    this.#onChange = onChange
    this.#onGap = onGap
    const outcome = new Promise<Error | null>((resolve) => { this.#onOutcome = resolve })
    const { client } = this.#link
    if (isCluster(client)) for (const name of ['+node', '-node', 'refresh']) client.on(name, this.#onTopology)
    this.#pinging = setInterval(() => { void this.hear().catch(() => {}) }, this.#silenceMs / PINGS_PER_SILENCE)
    this.#matchLines()
    return await outcome
  }

  /** Resolves when all earlier changes have been heard, on the lines that are trusted. Rejects where a line is lost. */
  async hear (): Promise<void> {
    await Promise.all([...this.#lines.values()].map(async ({ line }) => await line.hear()))
  }

  async close (): Promise<void> {
    clearInterval(this.#pinging)
    const { client } = this.#link
    for (const name of ['+node', '-node', 'refresh']) client.off(name, this.#onTopology)
    this.#trustedUntil = 0
    for (const { line } of this.#lines.values()) line.close()
    this.#lines.clear()
    this.#onOutcome?.(null)
  }

  /** Opens and closes lines until there is one to each master. Nodes that come, go or take over slots change these. */
  #matchLines (): void {
    const { client } = this.#link
    const nodes = new Map(connectedMasters(client))
    const owners = isCluster(client) ? ownersOf(client) : { names: [''], text: '' }
    const isSame = owners.text === this.#owners.text && nodes.size === this.#lines.size &&
      [...nodes].every(([name, node]) => this.#lines.get(name)?.node === node)
    this.#owners = owners
    if (isSame) return
    this.#distrust()
    for (const [name, { node, line }] of this.#lines) {
      if (nodes.get(name) === node) continue
      line.close()
      this.#lines.delete(name)
    }
    for (const [name, node] of nodes) {
      if (!this.#lines.has(name)) this.#lines.set(name, { node, line: this.#lineTo(node) })
    }
    this.#updateTrust()
  }

  #lineTo (node: Redis): TrackingLine {
    return new TrackingLine(node, {
      prefix: this.#keys.beginning,
      silenceMs: this.#silenceMs,
      onKeys: (keys) => {
        if (keys === null) return this.#onGap()
        for (const key of keys) this.#onChange(this.#keys.idOf(key.toString()))
      },
      onTrust: () => this.#updateTrust(),
      onGap: () => this.#distrust(),
      onRefused: (error) => this.#refused(error)
    })
  }

  #distrust (): void {
    this.#trustedUntil = 0
    this.#onGap()
  }

  #updateTrust (): void {
    if (pausesSoFar() !== this.#pauses) {
      this.#pauses = pausesSoFar()
      this.#distrust()
    }
    let until = this.#owners.names.length === 0 ? 0 : Infinity
    for (const name of this.#owners.names) until = Math.min(until, this.#lines.get(name)?.line.trustedUntil ?? 0)
    // A master that answers for no slot may be given one at any moment.
    for (const { line } of this.#lines.values()) until = Math.min(until, line.trustedUntil)
    this.#trustedUntil = until
    if (until === 0) return
    this.#isRefused = false
    this.#endListen(null)
  }

  #refused (error: Error): void {
    // At boot the caller of `listen` reports it.
    if (this.#onOutcome === null && !this.#isRefused) this.#link.reportRefusal(error)
    this.#isRefused = true
    this.#endListen(error)
  }

  /** Resolves `listen` with its outcome, unless that is done. */
  #endListen (outcome: Error | null): void {
    this.#onOutcome?.(outcome)
    this.#onOutcome = null
  }
}

/** Returns the masters that answer for slots, and as text where the slots of each begin. */
function ownersOf ({ slots }: Cluster): { names: string[], text: string } {
  const names = new Set<string>()
  const ranges: string[] = []
  let before: string | undefined
  slots.forEach((owners, slot) => {
    const [owner] = owners ?? []
    if (owner === before) return
    before = owner
    ranges.push(`${slot} ${owner}`)
    if (owner !== undefined) names.add(owner)
  })
  return { names: [...names], text: ranges.join() }
}

interface TrackingLineOptions {
  /** Start of the keys whose changes are heard. */
  prefix: string
  /** How long nothing may be heard before changes may have been missed. */
  silenceMs: number
  /** These keys have changed; `null`: any may have. */
  onKeys: (keys: Buffer[] | null) => void
  /** `trustedUntil` has changed. */
  onTrust: () => void
  /** Messages may have been lost. */
  onGap: () => void
  onRefused: (error: Error) => void
}

/**
 * Hears from one server what changes there (`CLIENT TRACKING … BCAST`), on a connection beside the one on which
 * sessions are read.
 *
 * It has to be RESP2, redirected to itself: on RESP3 the driver drops these messages without a word. Never NOLOOP: it
 * loses the message of a change by another that comes in the same moment as one of ours. Tracking ends with the
 * connection, and begins anew with each.
 */
export class TrackingLine {
  /** By `performance.now()`; 0 while changes may be missed. */
  trustedUntil = 0
  readonly #options: TrackingLineOptions
  /** The connection on which sessions are read. Changes must come from the same server. */
  readonly #data: Redis
  readonly #line: Redis
  /** Run id of the server that sends changes on this connection. */
  #server: string | undefined
  /** How often the line has begun anew: an answer to a question of an earlier round says nothing. */
  #round = 0
  /** It is not known yet whether both connections are to the same server. */
  #isPending = true
  #askAgain: NodeJS.Timeout | undefined
  readonly #onDataReady = (): void => { void this.#begin() }
  readonly #onDataClose = (): void => this.#distrust()

  constructor (data: Redis, options: TrackingLineOptions) {
    this.#data = data
    this.#options = options
    data.setMaxListeners(data.getMaxListeners() + 1)
    data.on('ready', this.#onDataReady)
    data.on('close', this.#onDataClose)
    // A duplicate of one server's connection is one server's.
    this.#line = duplicate(data, { enableOfflineQueue: false, enableAutoPipelining: false }, {
      protocol: 2,
      keyPrefix: '',
      readOnly: false,
      autoResubscribe: false,
      // What was under way when the connection was lost fails with it.
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: Math.ceil(options.silenceMs * 1.4),
      retryStrategy: listenerPause
    }) as Redis
    this.#line.on('error', () => {})
    // The driver passes on what Redis sends: a list of keys, or null.
    this.#line.on('messageBuffer', (_channel: Buffer, keys: unknown) => options.onKeys(keys as Buffer[] | null))
    this.#line.on('ready', () => { void this.#begin() })
    this.#line.on('close', () => {
      this.#server = undefined
      this.#distrust()
    })
  }

  /** Resolves when all earlier changes have been heard, or none are heard here. Rejects when the connection is lost. */
  async hear (): Promise<void> {
    if (this.#server === undefined) return
    const round = this.#round
    const sentAt = performance.now()
    // The answer comes behind the messages sent before it, on the same connection.
    await this.#line.ping()
    if (round !== this.#round || this.#isPending) return
    this.trustedUntil = sentAt + this.#options.silenceMs
    this.#options.onTrust()
  }

  close (): void {
    this.#round++
    this.trustedUntil = 0
    clearTimeout(this.#askAgain)
    this.#data.off('ready', this.#onDataReady)
    this.#data.off('close', this.#onDataClose)
    this.#data.setMaxListeners(this.#data.getMaxListeners() - 1)
    this.#line.disconnect()
  }

  async #begin (): Promise<void> {
    this.#distrust()
    const round = this.#round
    const [data, line] = [this.#data, this.#line]
    // The nodes of a Cluster connect when they are needed.
    if (data.status === 'wait') data.connect().catch(() => {})
    if (data.status !== 'ready' || line.status !== 'ready') return
    try {
      if (this.#server === undefined) {
        const id = await line.client('ID')
        const server = runIdOf(await line.info('server'))
        await line.client('TRACKING', 'ON', 'REDIRECT', id, 'BCAST', 'PREFIX', this.#options.prefix)
        await line.subscribe(CHANNEL)
        if (round !== this.#round) return
        this.#server = server
      }
      const server = runIdOf(await data.info('server'))
      if (round !== this.#round) return
      if (server === '') throw new Error(NO_RUN_ID)
      // While a replica takes over, or behind a balancer, the two connections may lead to different servers.
      if (server !== this.#server) return line.disconnect(true)
      this.#isPending = false
      await this.hear()
    } catch (error) {
      if (round !== this.#round) return
      if (!isLasting(error)) return line.disconnect(true)
      this.#options.onRefused(withoutCommand(error))
      this.#askAgain = setTimeout(() => line.disconnect(true), TRACKING_RETRY_MS)
    }
  }

  #distrust (): void {
    this.#round++
    this.#isPending = true
    this.trustedUntil = 0
    clearTimeout(this.#askAgain)
    this.#options.onGap()
  }
}

/** Returns the run id of INFO, which is new each time a server starts; `''` where INFO does not have it. */
function runIdOf (info: string): string {
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? ''
}
