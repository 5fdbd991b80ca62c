import type { Cluster, Redis } from 'ioredis'
import { pausesSoFar } from '../util/pauses.ts'
import type { Changes } from '../near/cache.ts'
import { isCluster } from './client.ts'
import { connected } from './cluster.ts'
import type { Keys } from './keys.ts'
import type { RedisLink } from './link.ts'
import { TrackingLine } from './tracking-line.ts'

/** How often within the silence that is allowed each server is asked for a sign of life. */
const BEATS = 3

/**
 * What changes in Redis, whoever changes it: a line to each master that holds keys. Trusted while all of them
 * are: a slot may be on its way from any to any.
 */
export class Tracking implements Changes {
  #trustedUntil = 0
  /** How often the machine had been paused when what changes was last trusted to be heard. */
  #pauses = pausesSoFar()
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #silenceMs: number
  readonly #lines = new Map<string, { node: Redis, line: TrackingLine }>()
  /** Who answers for which slots, as far as is known. */
  #owners: { names: string[], text: string } = { names: [], text: '' }
  #beat: NodeJS.Timeout | undefined
  #onChange: (id: string) => void = () => {}
  #onGap: () => void = () => {}
  /** Told of the first outcome. */
  #onOutcome: ((outcome: Error | null) => void) | null = null
  /** It is known already that Redis refuses. */
  #isRefused = false
  readonly #sync = (): void => this.#compare()

  /** `silenceMs`: how long nothing may be heard of a server before it is not trusted. */
  constructor (link: RedisLink, keys: Keys, silenceMs: number) {
    this.#link = link
    this.#keys = keys
    this.#silenceMs = silenceMs
  }

  /** While the machine is paused nothing is heard: what was told of then may not have been read yet. */
  get trustedUntil (): number {
    if (this.#trustedUntil !== 0 && pausesSoFar() !== this.#pauses) this.#lost()
    return this.#trustedUntil
  }

  async listen (onChange: (id: string) => void, onGap: () => void): Promise<Error | null> {
    this.#onChange = onChange
    this.#onGap = onGap
    const outcome = new Promise<Error | null>((resolve) => { this.#onOutcome = resolve })
    const { client } = this.#link
    if (isCluster(client)) for (const name of ['+node', '-node', 'refresh']) client.on(name, this.#sync)
    this.#beat = setInterval(() => { void this.hear().catch(() => {}) }, this.#silenceMs / BEATS)
    this.#compare()
    return await outcome
  }

  /** Resolves when all that had changed before has been told, wherever it is trusted. Rejects where that cannot be told. */
  async hear (): Promise<void> {
    await Promise.all([...this.#lines.values()].map(async ({ line }) => await line.hear()))
  }

  async close (): Promise<void> {
    clearInterval(this.#beat)
    const { client } = this.#link
    for (const name of ['+node', '-node', 'refresh']) client.off(name, this.#sync)
    this.#trustedUntil = 0
    for (const { line } of this.#lines.values()) line.close()
    this.#lines.clear()
    this.#onOutcome?.(null)
  }

  /** Listens to whom there is now. In a Cluster whoever comes, goes or takes over slots changes what has to be heard. */
  #compare (): void {
    const { client } = this.#link
    const nodes = new Map(connected(client))
    const owners = isCluster(client) ? ownersOf(client) : { names: [''], text: '' }
    const isSame = owners.text === this.#owners.text && nodes.size === this.#lines.size && [...nodes].every(([name, node]) => this.#lines.get(name)?.node === node)
    this.#owners = owners
    if (isSame) return
    this.#lost()
    for (const [name, { node, line }] of this.#lines) {
      if (nodes.get(name) === node) continue
      line.close()
      this.#lines.delete(name)
    }
    for (const [name, node] of nodes) {
      if (!this.#lines.has(name)) this.#lines.set(name, { node, line: this.#lineTo(node) })
    }
    this.#trust()
  }

  #lineTo (node: Redis): TrackingLine {
    return new TrackingLine(node, {
      prefix: this.#keys.beginning,
      silenceMs: this.#silenceMs,
      onKeys: (keys) => {
        if (keys === null) return this.#onGap()
        for (const key of keys) this.#onChange(this.#keys.idOf(key.toString()))
      },
      onTrust: () => this.#trust(),
      onGap: () => this.#lost(),
      onRefused: (error) => this.#refused(error)
    })
  }

  #lost (): void {
    this.#trustedUntil = 0
    this.#onGap()
  }

  #trust (): void {
    if (pausesSoFar() !== this.#pauses) {
      this.#pauses = pausesSoFar()
      this.#lost()
    }
    let until = this.#owners.names.length === 0 ? 0 : Infinity
    for (const name of this.#owners.names) until = Math.min(until, this.#lines.get(name)?.line.trustedUntil ?? 0)
    // Those that answer for no slot may be given one at any moment.
    for (const { line } of this.#lines.values()) until = Math.min(until, line.trustedUntil)
    this.#trustedUntil = until
    if (until === 0) return
    this.#isRefused = false
    this.#settle(null)
  }

  #refused (error: Error): void {
    // At boot whoever waits for the outcome tells of it.
    if (this.#onOutcome === null && !this.#isRefused) this.#link.refused(error)
    this.#isRefused = true
    this.#settle(error)
  }

  #settle (outcome: Error | null): void {
    this.#onOutcome?.(outcome)
    this.#onOutcome = null
  }
}

/** The masters that answer for slots, and where those of each begin. */
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
