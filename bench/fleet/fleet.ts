import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Order, Told } from './listeners.ts'
import type { Pause } from './line.ts'
import type { Mode } from './modes.ts'

const LISTENERS = fileURLToPath(new URL('listeners.ts', import.meta.url))
const CHILDREN = 2
/** Lines of each child that note when they hear. */
const SAMPLED = 4

/** A fleet of simulated processes, in two child processes. */
export class Fleet {
  readonly #children: ChildProcess[]

  private constructor (children: ChildProcess[]) {
    this.#children = children
  }

  static async start (port: number): Promise<Fleet> {
    const children = Array.from({ length: CHILDREN }, () => fork(LISTENERS, [String(port)], { execArgv: ['--import', 'tsx'] }))
    for (const child of children) child.once('exit', (code) => { if (code !== 0) throw new Error('a listening process has ended') })
    await Promise.all(children.map(async (child) => await once(child, 'message')))
    return new Fleet(children)
  }

  /** Has so many processes listen, and nobody else. */
  async be (mode: Mode, processes: number): Promise<void> {
    await this.#all(() => ({ does: 'close' }))
    await this.#all((index) => ({ does: 'open', mode: mode.name, lines: Math.floor((processes + index) / CHILDREN), sampled: SAMPLED }))
  }

  /** From now on each connects again when it is cut off. */
  async arm (pause: Pause): Promise<void> {
    await this.#all(() => ({ does: 'arm', pause }))
  }

  async hearAgain (): Promise<void> {
    await this.#all(() => ({ does: 'hear again' }))
  }

  /** Each process reads these keys. */
  async read (keys: string[], atOnce: number): Promise<void> {
    await this.#all(() => ({ does: 'read', keys, atOnce }))
  }

  async forget (): Promise<void> {
    await this.#all(() => ({ does: 'forget' }))
  }

  /** When the sampled lines heard of a session, in nanoseconds, by its id. */
  async told (): Promise<Map<string, bigint[]>> {
    const heard = new Map<string, bigint[]>()
    for (const [id, ns] of (await this.#all(() => ({ does: 'tell' }))).flat(2)) {
      const times = heard.get(id) ?? []
      times.push(BigInt(ns))
      heard.set(id, times)
    }
    return heard
  }

  stop (): void {
    for (const child of this.#children) child.disconnect()
  }

  async #all (orderOf: (index: number) => Order): Promise<Told[]> {
    return await Promise.all(this.#children.map(async (child, index) => {
      child.send(orderOf(index))
      const [{ answer }] = await once(child, 'message') as [{ answer: Told | null }]
      return answer ?? []
    }))
  }
}
