import Fastify from 'fastify'
import { lib } from '../lib.ts'

/*
 * The process that serves one user while it ends the sessions of another: the child of one-user.ts.
 *
 *     service.ts <URL of Redis>
 */

export const COOKIE = 'sid'
export const SECRET = 'only for measuring, and 32 characters long'

/** What the child is to do with the sessions of this user. */
export interface Order { does: 'sign in' | 'list' | 'revoke', userId: string }
/** How long it took and what came of it; `null`: it failed. */
export interface Outcome { ms: number, result: number | null }

const [url = ''] = process.argv.slice(2)

// The parent takes the names above from here.
if (process.send !== undefined && url !== '') await serve()

async function serve (): Promise<void> {
  const app = Fastify()
  await app.register(lib.sessionPlugin, { secret: SECRET, redis: url, cookie: { secure: false }, cookieName: COOKIE })
  app.get('/', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  const work: Record<Order['does'], (userId: string) => Promise<number>> = {
    'sign in': async (userId) => (await app.sessions.create({ userId })).session.createdAt,
    list: async (userId) => (await app.sessions.listByUser(userId)).length,
    revoke: async (userId) => await app.sessions.revokeUser(userId)
  }
  process.once('disconnect', () => { void app.close().then(() => process.exit()) })
  process.on('message', ({ does, userId }: Order) => {
    const from = performance.now()
    void work[does](userId).catch(() => null).then((result) => {
      process.send?.({ ms: performance.now() - from, result } satisfies Outcome)
    })
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { headers } = await app.sessions.create({ userId: 'bob' })
  process.send?.({ port: (app.server.address() as { port: number }).port, cookie: headers.cookie })
}
