import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

interface Pair {
  near: Socket
  far: Socket
  /** What is on one of its ways vanishes, for as long as it lives. */
  loses: { commands: boolean, answers: boolean }
}

/**
 * What lies between an application and Redis: can be cut and mended, can lose or hold up what goes over it, and can
 * answer errors in Redis' place.
 */
export class Wire {
  /** Answers each command by this error, if it is set. */
  error: string | null = null
  /** Holds up every answer for so many milliseconds. */
  delayMs = 0
  /** Everything that the application sent. */
  sent = ''
  /** What the connections made from now on lose. */
  #loses = { commands: false, answers: false }
  /** After how many more answers all others vanish. */
  #answersLeft = Infinity
  /** A command that is waited for, and how often it was sent before: from then on all answers vanish. */
  #mutedBy: { name: string, count: number } | null = null
  readonly #target: number
  readonly #pairs = new Set<Pair>()
  readonly #server = createServer((near) => this.#connected(near))
  port = 0

  constructor (target: number) {
    this.#target = target
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** How many commands of this name, or of any, the application sent. */
  count (name = '[a-z]+'): number {
    return this.sent.match(new RegExp(`(?:^|\\r\\n)\\*\\d+\\r\\n\\$\\d+\\r\\n${name}\\r\\n`, 'gi'))?.length ?? 0
  }

  async mend (): Promise<void> {
    this.#loses = { commands: false, answers: false }
    this.#answersLeft = Infinity
    this.#mutedBy = null
    if (this.#server.listening) return
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
  }

  async cut (): Promise<void> {
    for (const { near, far } of this.#pairs) for (const socket of [near, far]) socket.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  /**
   * Half-open: what is sent vanishes, and nobody is told. Connections that were there stay like that also after
   * `mend`, as behind a router that has forgotten them.
   */
  lose ({ commands = true, answers = true }: { commands?: boolean, answers?: boolean } = {}): void {
    this.#loses = { commands, answers }
    for (const pair of this.#pairs) pair.loses = this.#loses
  }

  /** Lets so many answers through, and loses all others from then on; commands still arrive. */
  loseAnswersAfter (count: number): void {
    this.#answersLeft = count
  }

  /** Loses all answers from when the application next sends a command of this name; commands still arrive. */
  loseAnswersFrom (name: string): void {
    this.#mutedBy = { name, count: this.count(name) }
  }

  #connected (near: Socket): void {
    const far = connect(this.#target, '127.0.0.1')
    const pair: Pair = { near, far, loses: this.#loses }
    this.#pairs.add(pair)
    for (const socket of [near, far]) {
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#pairs.delete(pair)
        for (const each of [near, far]) each.destroy()
      })
    }
    let last = Promise.resolve()
    far.on('data', (chunk) => {
      if (pair.loses.answers) return
      if (this.#answersLeft !== Infinity && this.#answersLeft-- <= 0) return this.lose({ commands: false })
      if (this.delayMs === 0) return near.write(chunk)
      const due = new Promise((resolve) => setTimeout(resolve, this.delayMs))
      // In the order in which they came.
      last = last.then(async () => {
        await due
        near.write(chunk)
      })
    })
    near.on('data', (chunk) => {
      const text = String(chunk)
      this.sent += text
      if (this.#mutedBy !== null && this.count(this.#mutedBy.name) > this.#mutedBy.count) {
        this.#mutedBy = null
        this.lose({ commands: false })
      }
      if (pair.loses.commands) return
      if (this.error === null) far.write(chunk)
      else near.write(`-${this.error}\r\n`.repeat(commandsIn(text)))
    })
  }
}

/** How many commands there are in the text: arrays of strings, each with its length before it. */
function commandsIn (text: string): number {
  return text.match(/(?:^|\r\n)\*\d+\r\n\$\d+\r\n[a-z]/gi)?.length ?? 0
}

/** A wire to a Redis, cut when the test ends. */
export async function startWire (t: Test, redis: { port: number }): Promise<Wire> {
  const wire = new Wire(redis.port)
  await wire.mend()
  t.teardown(async () => { await wire.cut() })
  return wire
}
