import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import type { Exchange } from '../cost/load.ts'
import type { Subject } from '../cost/servers.ts'
import { quantile } from '../numbers.ts'

/** Share of what a server can do at most that it is asked for. */
const SHARE = 0.6
const CONNECTIONS = 50
/** How many requests show what a server can do at most. */
const AT_MOST = 10_000
const PATIENCE_MS = 20_000

/** How long requests took that came as the clock said, whatever had become of those before. Times in milliseconds. */
export interface OpenSlice {
  perSecond: number
  /** Share of the time in which the server worked. */
  busy: number
  p50: number
  p99: number
  rawPerSecond: number
  rawP50: number
  rawP99: number
}

/** Raw Fastify, then this server, each at a fixed share of what it can do at most. */
export async function openSlice (subject: Subject, raw: Subject, seconds: number): Promise<OpenSlice> {
  const asRaw = await turn(raw, subject.rawExchanges, seconds)
  await subject.fill()
  return { ...await turn(subject, subject.exchanges, seconds), rawPerSecond: asRaw.perSecond, rawP50: asRaw.p50, rawP99: asRaw.p99 }
}

async function turn (subject: Subject, exchanges: readonly Exchange[], seconds: number): Promise<Omit<OpenSlice, 'rawPerSecond' | 'rawP50' | 'rawP99'>> {
  const sender = await Sender.open(subject.port)
  try {
    const most = await sender.send(exchanges, { count: AT_MOST, perSecond: Infinity })
    const perSecond = SHARE * AT_MOST / most.seconds
    const before = await subject.cpuMicros()
    const heard = await sender.send(exchanges, { count: Math.ceil(perSecond * seconds), perSecond })
    const busy = (await subject.cpuMicros() - before) / 1e6 / heard.seconds
    return { perSecond, busy, p50: quantile(heard.waits, 0.5), p99: quantile(heard.waits, 0.99) }
  } finally {
    await sender.close()
  }
}

interface Rate { count: number, perSecond: number }

/** What has come of it. `waits`: from when a request was due to its whole reply, in milliseconds. */
interface Heard { waits: Float64Array, seconds: number }

/**
 * Sends requests when they are due. Where all connections are busy then, or this process is, a request goes out later,
 * and the time it was kept waiting counts: otherwise a server that halts for a second would be asked nothing meanwhile,
 * and only one request in it would be slow ("coordinated omission").
 */
export class Sender {
  readonly #sockets: Socket[]
  readonly #ticker: Worker
  readonly #isOnItsWay: Int32Array

  private constructor (sockets: Socket[], ticker: Worker, isOnItsWay: Int32Array) {
    this.#sockets = sockets
    this.#ticker = ticker
    this.#isOnItsWay = isOnItsWay
  }

  static async open (port: number): Promise<Sender> {
    const [isOnItsWay, bed] = [new Int32Array(new SharedArrayBuffer(4)), new Int32Array(new SharedArrayBuffer(4))]
    const ticker = new Worker(new URL('ticker.js', import.meta.url), { workerData: [isOnItsWay, bed], execArgv: [] })
    const sockets = Array.from({ length: CONNECTIONS }, () => connect({ port, host: '127.0.0.1', noDelay: true }))
    await Promise.all([once(ticker, 'message'), ...sockets.map(async (socket) => await once(socket, 'connect'))])
    Atomics.store(isOnItsWay, 0, 0)
    return new Sender(sockets, ticker, isOnItsWay)
  }

  async close (): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await this.#ticker.terminate()
  }

  /**
   * Sends so many requests at this rate, again from the front after the last; at `Infinity` as fast as they are answered.
   * @throws when a reply is not 200 with the body of its exchange
   */
  async send (exchanges: readonly Exchange[], { count, perSecond }: Rate): Promise<Heard> {
    const waits = new Float64Array(count)
    const everyMs = 1_000 / perSecond
    const start = performance.now()
    const dueAt = (index: number): number => perSecond === Infinity ? start : start + index * everyMs
    let [sent, answered] = [0, 0]
    await new Promise<void>((resolve, reject) => {
      const finish = (failure?: Error): void => {
        clearTimeout(patience)
        this.#ticker.off('message', onTick)
        for (const { socket, onData } of lines) socket.off('data', onData).off('error', finish).off('close', onClose)
        if (failure === undefined) resolve()
        else reject(failure)
      }
      const onClose = (): void => { finish(new Error('the server has closed the connection')) }
      const lines = this.#sockets.map((socket) => {
        const line = { socket, index: 0, body: '', seen: '', onData }
        function onData (chunk: Buffer): void {
          line.seen += chunk.toString('latin1')
          if (!line.seen.startsWith('HTTP/1.1 200 ') || line.seen.length > 8_192) return finish(new Error(`instead of 200 and ${line.body}: ${line.seen}`))
          if (!line.seen.endsWith(line.body)) return
          waits[line.index] = performance.now() - dueAt(line.index)
          idle.push(line)
          if (++answered === count) finish()
          else sendDue()
        }
        socket.on('data', onData).on('error', finish).on('close', onClose)
        return line
      })
      const idle = [...lines]
      const sendDue = (): void => {
        const now = performance.now()
        while (sent < count && dueAt(sent) <= now) {
          const line = idle.shift()
          if (line === undefined) return
          line.index = sent++
          line.seen = ''
          // Never past the end.
          const { request, body } = exchanges[line.index % exchanges.length] as Exchange
          line.body = `\r\n\r\n${body}`
          line.socket.write(request, 'latin1')
        }
      }
      const onTick = (): void => {
        Atomics.store(this.#isOnItsWay, 0, 0)
        sendDue()
      }
      const patience = setTimeout(() => { finish(new Error(`${answered} of ${count} requests were answered`)) }, PATIENCE_MS + dueAt(count) - start)
      this.#ticker.on('message', onTick)
      sendDue()
    })
    return { waits, seconds: (performance.now() - start) / 1_000 }
  }
}
