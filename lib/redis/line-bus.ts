import { Command } from 'ioredis'
import type { Redis } from 'ioredis'
import type { Bus, BusSubject } from '../session/store.ts'
import { pausesSoFar } from '../util/pauses.ts'
import { BUS_PING_EVERY_MS } from '../util/timings.ts'
import { BusLine } from './bus-line.ts'
import type { Pubsub, Wanted } from './bus-line.ts'
import { masterOf, refreshSlots } from './cluster.ts'
import { isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import type { Keys } from './keys.ts'
import type { RedisLink } from './link.ts'
import { published } from './publish.ts'

/** How often each server is asked for an echo within the silence that is allowed. */
const ECHOES_PER_SILENCE = 2

/** Somebody who listens. */
export interface Listener {
  readonly onMessage: (message: string) => void
  /** Messages may have been missed. Called as well when listening begins. */
  readonly onGap: () => void
  readonly subjects: readonly BusSubject[]
  /** Called when Redis refuses. Default: the operator is told. */
  readonly onRefused?: ((error: Error) => void) | undefined
  /** Called when the time has changed up to which it is known that every message is heard. */
  readonly onTrust?: ((until: number) => void) | undefined
}

interface LineBusOptions {
  readonly isSharded: boolean
  readonly isOptional?: boolean | undefined
}

const ALL: readonly BusSubject[] = ['beginnings', 'ends']

/** Messages to all that subscribe: PUBLISH. */
const PLAIN: Pubsub = {
  event: 'message',
  subscribe: async (line, channel) => await line.subscribe(channel),
  publish: async (server, channel, message) => await server.publish(channel, message)
}

/** Messages within a shard: SPUBLISH. */
const SHARDED: Pubsub = {
  event: 'smessage',
  subscribe: async (line, channel) => await line.ssubscribe(channel),
  publish: async (server, channel, message) => await spublish(server, channel, message)
}

/** Publishes within a shard. The driver takes a channel for a key, and would put its own prefix before it. */
async function spublish (client: Client, channel: string, message: string): Promise<unknown> {
  const { keyPrefix = '' } = client.options
  if (keyPrefix === '') return await client.spublish(channel, message)
  return await client.sendCommand(new Command('spublish', [channel, message], { replyEncoding: 'utf8' }))
}

/**
 * Sends messages between processes over lines of its own: one to each master that has a channel that somebody listens
 * to. It knows for how long it has heard all of them.
 */
export class LineBus implements Bus {
  readonly channelOf: Bus['channelOf']
  readonly #link: RedisLink
  readonly #pubsub: Pubsub
  readonly #isOptional: boolean
  /** Channels of each subject. */
  readonly #channels: Readonly<Record<BusSubject, readonly string[]>>
  /** Makes names of channels that nobody else listens to. */
  readonly #name = crypto.randomUUID()
  readonly #lines = new Map<string, { node: Redis, line: BusLine, text: string }>()
  readonly #listeners = new Map<Listener, { hears: boolean }>()
  /** For each wanted channel a master is known that has it. */
  #isComplete = false
  #trustedUntil = 0
  #silenceMs: number | null = null
  #pauses = pausesSoFar()
  #hearing: NodeJS.Timeout | undefined
  #isRefreshing = false
  readonly #onTopology = (): void => this.#match()

  /**
   * `isSharded`: in a Cluster, messages stay within a shard. Else it is for one server alone. `isOptional`: it does not
   * matter to the operator that Redis refuses messages.
   */
  constructor (link: RedisLink, keys: Keys, { isSharded, isOptional = false }: LineBusOptions) {
    this.#link = link
    this.#isOptional = isOptional
    this.#pubsub = isSharded ? SHARDED : PLAIN
    const { database } = link
    const all = [keys.eventsOf(database)]
    this.#channels = isSharded
      ? { beginnings: keys.shardsOf(database, 'beginnings'), ends: keys.shardsOf(database, 'ends') }
      : { beginnings: all, ends: all }
    if (isSharded) this.channelOf = (subject, id) => shardOf(this.#channels[subject], id)
  }

  /** Time, by `performance.now()`, up to which all messages are heard for certain; 0 while some may be missed. */
  get trustedUntil (): number {
    // Nothing is heard while the machine is paused: messages of that time may not have been read yet.
    if (this.#trustedUntil !== 0 && pausesSoFar() !== this.#pauses) this.#renew()
    return this.#trustedUntil
  }

  async publish (message: string, channel = shardOf(this.#channels.ends, '')): Promise<void> {
    await published((text) => {
      if (this.#pubsub !== SHARDED) return this.#link.publish(channel, text)
      const command = async (client: Client): Promise<unknown> => await spublish(client, channel, text)
      return this.#isOptional ? this.#link.tryRun(channel, command) : this.#link.run(channel, command)
    }, message)
  }

  subscribe (onMessage: (message: string) => void, onGap: () => void, subject?: BusSubject): () => Promise<void> {
    return this.listen({ onMessage, onGap, subjects: subject === undefined ? ALL : [subject] })
  }

  /** Whether one who listens hears all that it is to hear. */
  hears (listener: Listener): boolean {
    return this.#listeners.get(listener)?.hears ?? false
  }

  /** Listens, and returns what ends that. */
  listen (listener: Listener): () => Promise<void> {
    this.#listeners.set(listener, { hears: false })
    if (this.#listeners.size === 1) this.#open()
    this.#match()
    return async () => {
      if (!this.#listeners.delete(listener)) return
      if (this.#listeners.size === 0) await this.close()
    }
  }

  /**
   * Finds out from now on whether all is heard. `silenceMs`: for how long after an echo that is taken for true. Of
   * several the shortest counts.
   */
  trust (silenceMs: number): void {
    if (this.#silenceMs !== null && this.#silenceMs <= silenceMs) return
    this.#silenceMs = silenceMs
    for (const { line } of this.#lines.values()) line.distrust()
    if (this.#listeners.size > 0) this.#open()
    this.#match()
  }

  /** Resolves when all earlier messages have been heard. Rejects where a line is lost. */
  async hear (): Promise<void> {
    await Promise.all([...this.#lines.values()].map(async ({ line }) => await line.hear()))
  }

  /** Stops listening. Twice is safe. */
  async close (): Promise<void> {
    clearInterval(this.#hearing)
    const { client } = this.#link
    for (const name of ['ready', '+node', '-node', 'refresh']) client.off(name, this.#onTopology)
    this.#listeners.clear()
    for (const { line } of this.#lines.values()) line.close()
    this.#lines.clear()
    this.#trustedUntil = 0
  }

  #open (): void {
    clearInterval(this.#hearing)
    const everyMs = this.#silenceMs === null ? BUS_PING_EVERY_MS : this.#silenceMs / ECHOES_PER_SILENCE
    this.#hearing = setInterval(() => { void this.hear().catch(() => {}) }, everyMs)
    const { client } = this.#link
    for (const name of ['ready', '+node', '-node', 'refresh']) client.off(name, this.#onTopology)
    if (isCluster(client)) for (const name of ['ready', '+node', '-node', 'refresh']) client.on(name, this.#onTopology)
  }

  /** Opens and closes lines until each wanted channel is heard from the master that has it. */
  #match (): void {
    if (this.#listeners.size === 0) return
    const places = this.#places()
    for (const [name, { node, line }] of this.#lines) {
      if (places.get(name)?.node === node) continue
      this.#lines.delete(name)
      line.close()
    }
    for (const [name, { node, channels }] of places) {
      const [first = ''] = channels.keys()
      const wanted: Wanted = { channels, echo: this.#silenceMs === null ? null : `${first}:${this.#name}` }
      const text = [wanted.echo, ...channels.keys()].join()
      const known = this.#lines.get(name)
      const line = known?.line ?? this.#lineTo(node)
      line.silenceMs = this.#silenceMs ?? 0
      if (known?.text === text) continue
      this.#lines.set(name, { node, line, text })
      line.want(wanted)
    }
    this.#update()
  }

  /** Returns the masters that have channels that somebody listens to, and which ones. */
  #places (): Map<string, { node: Redis, channels: Map<string, BusSubject> }> {
    const places = new Map<string, { node: Redis, channels: Map<string, BusSubject> }>()
    const subjects = new Set([...this.#listeners.keys()].flatMap((listener) => listener.subjects))
    this.#isComplete = true
    for (const subject of subjects) {
      for (const channel of this.#channels[subject]) {
        const master = masterOf(this.#link.client, channel)
        if (master === null) {
          this.#isComplete = false
          continue
        }
        const [name, node] = master
        const place = places.get(name) ?? { node, channels: new Map<string, BusSubject>() }
        places.set(name, place)
        place.channels.set(channel, subject)
      }
    }
    return places
  }

  #lineTo (node: Redis): BusLine {
    return new BusLine(node, {
      pubsub: this.#pubsub,
      onMessage: (subject, message) => {
        for (const { subjects, onMessage } of this.#listeners.keys()) if (subjects.includes(subject)) onMessage(message)
      },
      onChange: () => this.#update(),
      onMoved: () => { void this.#refresh() },
      onRefused: (error) => this.#refused(error)
    })
  }

  /** Tells those who listen what has changed about what is heard. */
  #update (): void {
    const lines = [...this.#lines.values()].map(({ line }) => line)
    for (const [listener, state] of this.#listeners) {
      const heard = state.hears
      state.hears = this.#isComplete && lines.length > 0 &&
        listener.subjects.every((subject) => lines.every((line) => line.hears(subject)))
      if (state.hears && !heard) listener.onGap()
    }
    if (pausesSoFar() !== this.#pauses) return this.#renew()
    const until = this.#isComplete && lines.length > 0 ? Math.min(...lines.map((line) => line.trustedUntil)) : 0
    if (until === this.#trustedUntil) return
    this.#trustedUntil = until
    for (const { onTrust } of this.#listeners.keys()) onTrust?.(until)
  }

  /** The machine was paused: what was heard before says nothing. */
  #renew (): void {
    this.#pauses = pausesSoFar()
    this.#trustedUntil = 0
    for (const { line } of this.#lines.values()) line.distrust()
    for (const { onGap } of this.#listeners.keys()) onGap()
  }

  /** Asks which master has which slot. The driver tells when it knows. */
  async #refresh (): Promise<void> {
    const { client } = this.#link
    if (this.#isRefreshing || !isCluster(client)) return
    this.#isRefreshing = true
    await refreshSlots(client)
    this.#isRefreshing = false
    this.#match()
  }

  #refused (error: Error): void {
    for (const { onRefused } of this.#listeners.keys()) {
      if (onRefused === undefined) this.#link.reportRefusal(error)
      else onRefused(error)
    }
  }
}

/** Returns the channel for a session: one of several, and always the same. */
function shardOf (channels: readonly string[], id: string): string {
  let hash = 0
  for (let at = 0; at < id.length; at++) hash = (hash * 31 + id.charCodeAt(at)) | 0
  return channels[(hash >>> 0) % channels.length] as string
}
