import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { connect } from '../../lib/redis/connection.ts'
import { proxied } from '../../test/helpers/proxied.ts'

/*
 * A server that signs people in: the child of login.ts.
 *
 *     server.ts <URL of Redis> <way> <folder of a compiled lib>
 */

/** How a session begins: by one script, or in steps as behind a proxy of a Cluster. */
export type Way = 'script' | 'steps'
/** What it has used so far. CPU in microseconds. */
export interface Use { cpuMicros: number }

const SECRET = 'only for measuring, and 32 characters long'

const [url, way, folder] = process.argv.slice(2)

// The parent takes the names above from here.
if (process.send !== undefined && url !== undefined) await serve(url)

async function serve (redis: string): Promise<void> {
  const lib = await import(new URL('index.js', folder).href) as typeof import('../../lib/index.ts')
  const { client } = connect(redis)
  const store = new lib.RedisStore({ client: way === 'steps' ? proxied(client) : client })
  await store.ready(10_000)
  const app = Fastify({ trustProxy: true })
  await app.register(lib.sessionPlugin, { secret: SECRET, store, cookie: { secure: false } })
  app.post<{ Body: { username: string } }>('/login', async (request) => {
    const { username } = request.body
    const user = await app.attemptLogin(request, username, () => ({ id: username }))
    await app.login(request, user)
    return { ok: true }
  })
  app.post<{ Body: { username: string } }>('/raw', async ({ body }) => ({ ok: body.username !== '' }))
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send?.({ cpuMicros: user + system } satisfies Use)
  })
  process.once('disconnect', () => {
    void app.close().then(async () => {
      await store.close()
      client.disconnect()
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send?.({ port: (app.server.address() as AddressInfo).port })
}
