import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import type { Test } from 'tap'
import { prefix } from './redis.ts'
import { openStore } from './redis-store.ts'

/** When nothing has passed for so long, all that could overtake has. */
const QUIET_MS = 30

/**
 * How an operation is stopped at one of its commands: `unsent`, Redis never gets it; `unanswered`, Redis has
 * carried it out and nobody hears of that; `overtaken`, Redis never gets it, but all that does not wait for it.
 */
export type StopMode = 'unsent' | 'unanswered' | 'overtaken'

/** The first command is 1. */
export interface Step {
  command: number
  mode: StopMode
}

/**
 * What lies between one application and its Redis, or every node of its Cluster: passes commands one by one,
 * each after the reply to the one before it, counts those that are about keys with `mark` in them, and stops at
 * one of them. From then on nothing passes.
 */
export class SteppingWire {
  /** How many of the application's commands came. */
  commands = 0
  /** It has come to its step. */
  isReached = false
  readonly #mark: string
  readonly #servers: Server[]
  readonly #sockets = new Set<Socket>()
  #step: Step | null = null
  #isCounting = false
  #passing = 0
  #passedAt = performance.now()

  /** `targets`: the ports that Redis listens on. */
  constructor (targets: number[], mark: string) {
    this.#mark = mark
    this.#servers = targets.map((target) => createServer((near) => this.#connected(near, target)))
  }

  async open (): Promise<void> {
    await Promise.all(this.#servers.map(async (server) => await once(server.listen(0, '127.0.0.1'), 'listening')))
  }

  /** The ports to connect to, in the order of the targets. */
  get ports (): number[] {
    return this.#servers.map((server) => (server.address() as AddressInfo).port)
  }

  /** Counts from here on, up to the step; without one everything passes. */
  stopAt (step: Step | null): void {
    this.#isCounting = true
    this.#step = step
  }

  /** It has come to its step, and all that passes has. */
  get isStopped (): boolean {
    return this.isReached && this.#passing === 0 && (this.#step?.mode !== 'overtaken' || this.quietForMs > QUIET_MS)
  }

  /** For how long nothing has passed. */
  get quietForMs (): number {
    return this.#passing > 0 ? 0 : performance.now() - this.#passedAt
  }

  async close (): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(this.#servers.filter((server) => server.listening).map(async (server) => await once(server.close(), 'close')))
  }

  #connected (near: Socket, target: number): void {
    const far = connect(target, '127.0.0.1')
    const commands = new Messages()
    const replies = new Messages()
    const queue: Buffer[] = []
    let onReply = (_reply: Buffer): void => {}
    let isPassing = false
    const pass = async (): Promise<void> => {
      if (isPassing) return
      isPassing = true
      for (let command = queue.shift(); command !== undefined; command = queue.shift()) {
        if (!this.#mayPass(command)) return
        this.#passing++
        far.write(command)
        const reply = await new Promise<Buffer>((resolve) => { onReply = resolve })
        this.#passing--
        this.#passedAt = performance.now()
        if (this.#isOver) return
        near.write(reply)
      }
      isPassing = false
    }
    near.on('data', (chunk: Buffer) => {
      queue.push(...commands.take(chunk))
      void pass()
    })
    far.on('data', (chunk: Buffer) => {
      for (const reply of replies.take(chunk)) onReply(reply)
    })
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
  }

  #mayPass (command: Buffer): boolean {
    if (this.#isOver) return false
    if (!this.#isCounting || !command.includes(this.#mark)) return true
    this.commands++
    if (this.commands !== this.#step?.command) return true
    this.isReached = true
    return this.#step.mode === 'unanswered'
  }

  get #isOver (): boolean {
    return this.isReached && this.#step?.mode !== 'overtaken'
  }
}

/** Cuts what comes over a socket into whole commands, or whole replies. */
class Messages {
  #rest = Buffer.alloc(0)

  take (chunk: Buffer): Buffer[] {
    this.#rest = Buffer.concat([this.#rest, chunk])
    const messages: Buffer[] = []
    for (let end = endOf(this.#rest, 0); end !== -1; end = endOf(this.#rest, 0)) {
      messages.push(this.#rest.subarray(0, end))
      this.#rest = this.#rest.subarray(end)
    }
    return messages
  }
}

/** Where the value of Redis' protocol that begins at `start` ends; -1 when there is more to come. */
function endOf (buffer: Buffer, start: number): number {
  const lineEnd = buffer.indexOf('\r\n', start)
  if (lineEnd === -1) return -1
  const type = String.fromCharCode(buffer[start] ?? 0)
  const length = Number(buffer.toString('latin1', start + 1, lineEnd))
  let end = lineEnd + 2
  if ('$=!'.includes(type)) {
    if (length >= 0) end += length + 2
    return end <= buffer.length ? end : -1
  }
  const parts = '*~>'.includes(type) ? length : type === '%' ? 2 * length : 0
  for (let part = 0; part < parts && end !== -1; part++) end = endOf(buffer, end)
  return end
}

/** Opens a store whose next operation ends at one of its commands, which Redis never gets; and one that nothing keeps from Redis. */
export async function openBroken (t: Test, redis: { port: number, url: string }) {
  const keyPrefix = prefix()
  const wire = new SteppingWire([redis.port], keyPrefix)
  await wire.open()
  t.teardown(() => wire.close())
  const broken = await openStore(t, `redis://127.0.0.1:${wire.ports[0]}`, { prefix: keyPrefix })
  const store = await openStore(t, redis.url, { prefix: keyPrefix })
  return { wire, broken, store }
}
