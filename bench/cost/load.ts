import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

export const CONNECTIONS = 50
const PATIENCE_MS = 20_000
const PAUSE_MS = 250

/** What is sent, and the whole body that has to come back. */
export interface Exchange {
  request: string
  body: string
}

/**
 * Connections that stay open, one request at a time on each. Of our own, because a load generator measures
 * time, while here a server is asked in hundreds of short turns, each request with a cookie of its own and an answer
 * that only its session has, and all of it has to cost less than the server, whose core it shares.
 */
export class Load {
  readonly #sockets: Socket[]

  private constructor (sockets: Socket[]) {
    this.#sockets = sockets
  }

  static async open (port: number, connections = CONNECTIONS): Promise<Load> {
    const sockets = Array.from({ length: connections }, () => connect({ port, host: '127.0.0.1', noDelay: true }))
    await Promise.all(sockets.map(async (socket) => await once(socket, 'connect')))
    return new Load(sockets)
  }

  close (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /**
   * Has all exchanges answered, in their order over all connections. `onReply` is given each reply. `patient`: what is
   * answered 503 is asked again.
   * @throws when a reply is not 200 with exactly the body of its exchange
   */
  async run (exchanges: readonly Exchange[], { onReply, patient = false }: { onReply?: (index: number, reply: string) => void, patient?: boolean } = {}): Promise<void> {
    let next = 0
    // What has come in one turn of the loop is followed up at once: each turn a server gets is of many requests.
    const batch: Array<() => void> = []
    const flush = (): void => { for (const write of batch.splice(0)) write() }
    const waiting = new Set<() => void>()
    const stalled = setTimeout(() => { for (const giveUp of waiting) giveUp() }, PATIENCE_MS)
    const one = async (socket: Socket): Promise<void> => await new Promise((resolve, reject) => {
      let index = -1
      let ending = ''
      let seen = ''
      const done = (failure?: Error): void => {
        socket.off('data', onData).off('error', done).off('close', onClose)
        if (failure === undefined) resolve()
        else reject(failure)
      }
      const ask = (): void => {
        const exchange = exchanges[next]
        if (exchange === undefined) return done()
        index = next++
        send(exchange)
      }
      const send = (exchange: Exchange): void => {
        seen = ''
        ending = `\r\n\r\n${exchange.body}`
        batch.push(() => socket.write(exchange.request, 'latin1'))
        if (batch.length === 1) setImmediate(flush)
      }
      const onData = (chunk: Buffer): void => {
        seen = seen + chunk.toString('latin1')
        if (patient && seen.startsWith('HTTP/1.1 503 ')) {
          setTimeout(send, PAUSE_MS, exchanges[index] as Exchange)
          return
        }
        if (!seen.startsWith('HTTP/1.1 200 ')) return done(new Error(`instead of 200 and ${JSON.stringify(ending)}: ${seen}`))
        if (!seen.endsWith(ending)) {
          // The rest is on its way, or will never be: see below.
          if (seen.length > 8_192) done(new Error(`not ${JSON.stringify(ending)} but ${seen}`))
          return
        }
        if (seen.indexOf('\r\n\r\n') !== seen.length - ending.length) return done(new Error(`more than one reply: ${seen}`))
        onReply?.(index, seen)
        stalled.refresh()
        ask()
      }
      const onClose = (): void => done(new Error('the server has closed the connection'))
      socket.on('data', onData).on('error', done).on('close', onClose)
      waiting.add((): void => done(new Error(`waited ${PATIENCE_MS} ms in vain for ${JSON.stringify(ending)}; there is ${JSON.stringify(seen)}`)))
      ask()
    })
    try {
      await Promise.all(this.#sockets.map(one))
    } finally {
      clearTimeout(stalled)
    }
  }
}
