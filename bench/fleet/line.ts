import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { Mode } from './modes.ts'

const HOST = '127.0.0.1'
/** Shared by all: what is read is looked at before the next is. */
const BUFFER = Buffer.alloc(256 * 1024)
/** The id of a session in what comes: in the name of its key, or in JSON. */
const ID = /sess:([\w-]{22})|"id":"([\w-]{22})"/g
/** More than what an id may be cut into. */
const KEPT = 80

/** When this process has read of what happened to a session: by the monotonic clock of the system. */
export type Seen = Map<string, bigint>

/** How long to wait before connecting again. */
export interface Pause { stepMs: number, jitterMs: number }

/** Encodes a command. */
function encoded (parts: readonly string[]): string {
  return `*${parts.length}\r\n${parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('')}`
}

/**
 * A connection as a process of this package has one for listening. What comes is dropped; a sampled line notes when.
 */
export class Line {
  readonly #port: number
  readonly #mode: Mode
  readonly #seen: Seen | null
  #socket: Socket | undefined
  /** The connection on which the process reads sessions, where that matters. */
  #data: Socket | undefined
  readonly #echo: ReturnType<NonNullable<Mode['echo']>> | undefined
  #pings: NodeJS.Timeout | undefined
  #again: NodeJS.Timeout | undefined
  /** The end of what has come, while something is looked for in it. */
  #text = ''
  #expected: { pattern: RegExp, found: (match: string) => void } | null = null
  #pause: Pause | null = null
  #isClosed = false
  #onHears: () => void = () => {}
  hearsAgain: Promise<void> = Promise.resolve()

  constructor (port: number, mode: Mode, seen: Seen | null) {
    this.#port = port
    this.#mode = mode
    this.#seen = seen
    this.#echo = mode.echo?.(`@sess:events:{0}:${randomUUID()}`)
  }

  /** Resolves when it hears. */
  async open (): Promise<void> {
    await this.#connect()
    const { pingEveryMs } = this.#mode
    if (this.#echo !== undefined) {
      this.#data = this.#socketTo(() => true)
      this.#data.on('error', () => {})
    }
    const [ping, echo] = [encoded(['PING']), encoded(this.#echo?.publish ?? [])]
    const beat = (): void => {
      this.#socket?.write(ping)
      this.#data?.write(echo)
    }
    // Not all at the same moment.
    if (pingEveryMs !== null) this.#pings = setInterval(beat, pingEveryMs * (0.95 + Math.random() / 10))
  }

  /** From now on it connects again when it is cut off. `hearsAgain` resolves when it hears again. */
  arm (pause: Pause): void {
    this.#pause = pause
    this.hearsAgain = new Promise<void>((resolve) => { this.#onHears = resolve })
  }

  /** Reads keys. Resolves when all have come. */
  async read (keys: readonly string[], atOnce: number): Promise<void> {
    for (let from = 0; from < keys.length; from += atOnce) this.#socket?.write(encoded(['MGET', ...keys.slice(from, from + atOnce)]))
    this.#socket?.write(encoded(['PING', 'have-read']))
    await this.#expect(/have-read/)
  }

  close (): void {
    this.#isClosed = true
    clearInterval(this.#pings)
    clearTimeout(this.#again)
    this.#socket?.destroy()
    this.#data?.destroy()
  }

  #socketTo (callback: (length: number, buffer: Buffer) => boolean): Socket {
    return connect({ port: this.#port, host: HOST, noDelay: true, onread: { buffer: BUFFER, callback: (length, buffer) => callback(length, buffer as Buffer) } })
  }

  async #connect (): Promise<void> {
    this.#text = ''
    const socket = this.#socket = this.#socketTo((length, buffer) => this.#came(length, buffer))
    socket.on('error', () => {})
    socket.once('close', () => this.#cut())
    // As the driver does when it connects, and then the line.
    socket.write(encoded(['INFO']) + encoded(['CLIENT', 'ID']))
    const [, id = ''] = /:(\d+)/.exec(await this.#expect(/(?:^|\r\n):\d+\r\n/)) ?? []
    const own = this.#echo === undefined ? [] : [this.#echo.subscribe]
    socket.write([['INFO', 'server'], ...this.#mode.commands(id), ...own, ['PING', 'hears']].map(encoded).join(''))
    await this.#expect(/hears/)
    this.#onHears()
  }

  #cut (): void {
    const pause = this.#pause
    if (this.#isClosed || pause === null) return
    this.#again = setTimeout(() => { void this.#connect() }, pause.stepMs + Math.random() * pause.jitterMs)
  }

  async #expect (pattern: RegExp): Promise<string> {
    return await new Promise((resolve) => { this.#expected = { pattern, found: resolve } })
  }

  #came (length: number, buffer: Buffer): boolean {
    const expected = this.#expected
    if (this.#seen === null && expected === null) return true
    const now = process.hrtime.bigint()
    const text = this.#text + buffer.toString('latin1', 0, length)
    this.#text = text.slice(-KEPT)
    if (this.#seen !== null) {
      for (const [, inKey, inJson] of text.matchAll(ID)) {
        const id = inKey ?? inJson ?? ''
        this.#seen.set(id, now)
      }
    }
    const match = expected?.pattern.exec(text)
    if (match == null) return true
    this.#expected = null
    expected?.found(match[0])
    return true
  }
}
