import Fastify from 'fastify'
import { lib } from '../lib.ts'

/*
 * The process that sees sessions end: the child of revoke.ts.
 *
 *     watcher.ts <URL of Redis> [near-cache]
 */

export const COOKIE = 'sid'
export const SECRET = 'only for measuring, and 32 characters long'
const PATIENCE_MS = 1_000
/** Of reads that were answered, the last ones are told. */
const TOLD = 8

/** Which session to look at, and how. */
export interface Order { by: 'signal' | 'read', id: string, headers: Record<string, string> }
/** When it was seen to have ended, and when the last requests began that were answered; by the monotonic clock. */
export interface Seen { endedNs: string | null, servedNs: string[] }

const [url = '', near] = process.argv.slice(2)

// The parent takes the names above from here.
if (process.send !== undefined && url !== '') await serve()

async function serve (): Promise<void> {
  const app = Fastify()
  await app.register(lib.sessionPlugin, { secret: SECRET, redis: url, cookie: { secure: false }, cookieName: COOKIE, ...near !== undefined && { nearCache: true } })
  let signal: AbortSignal | undefined
  app.get('/', { preHandler: app.authenticate }, async (request) => {
    signal = request.auth?.signal
    return {}
  })
  const answers = async (headers: Order['headers']): Promise<boolean> => (await app.inject({ url: '/', headers })).statusCode === 200
  process.once('disconnect', () => { void app.close().then(() => process.exit()) })
  process.on('message', ({ by, headers }: Order) => {
    void (by === 'signal' ? watchSignal() : watchReads()).then((seen) => process.send?.(seen))

    async function watchSignal (): Promise<Seen> {
      if (!await answers(headers) || signal === undefined) throw new Error('nobody is signed in')
      const ended = new Promise<string | null>((resolve) => {
        signal?.addEventListener('abort', () => resolve(String(process.hrtime.bigint())))
        setTimeout(resolve, PATIENCE_MS, null)
      })
      process.send?.({})
      return { endedNs: await ended, servedNs: [] }
    }

    async function watchReads (): Promise<Seen> {
      if (!await answers(headers)) throw new Error('nobody is signed in')
      process.send?.({})
      const giveUpAt = performance.now() + PATIENCE_MS
      const servedNs: string[] = []
      while (performance.now() < giveUpAt) {
        const from = String(process.hrtime.bigint())
        if (!await answers(headers)) return { endedNs: String(process.hrtime.bigint()), servedNs }
        servedNs.push(from)
        if (servedNs.length > TOLD) servedNs.shift()
        // So that what the network brought has its turn.
        await new Promise((resolve) => setImmediate(resolve))
      }
      return { endedNs: null, servedNs }
    }
  })
  await app.ready()
  process.send?.({})
}
