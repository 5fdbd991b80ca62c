import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

/** What lies between an application and Redis: can be cut and mended, and can answer errors in Redis' place. */
export class Wire {
  /** Answers each command by this error, if it is set. */
  error: string | null = null
  /** Everything that the application sent. */
  sent = ''
  readonly #target: number
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((near) => this.#connected(near))
  port = 0

  constructor (target: number) {
    this.#target = target
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  async mend (): Promise<void> {
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
  }

  async cut (): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #connected (near: Socket): void {
    const far = connect(this.#target, '127.0.0.1')
    const pair = [near, far]
    for (const socket of pair) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        for (const each of pair) each.destroy()
      })
    }
    far.pipe(near)
    near.on('data', (chunk) => {
      const text = String(chunk)
      this.sent += text
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
