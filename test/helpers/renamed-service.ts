import Fastify from 'fastify'
import { sessionPlugin } from '../../lib/index.ts'
import { secret } from './app.ts'

/* An application behind a TLS proxy, whose cookie has the names of `COOKIE_NAMES`. `POST /login?as=ada` signs her in. */
const { REDIS_URL, KEY_PREFIX, COOKIE_NAMES = '', PORT } = process.env

const app = Fastify({ trustProxy: '127.0.0.1', forceCloseConnections: true })
await app.register(sessionPlugin, {
  secret, redis: REDIS_URL, keyPrefix: KEY_PREFIX, cookieName: COOKIE_NAMES.split(',')
})
app.get('/', async () => 'up')
app.post<{ Querystring: { as: string } }>('/login', async (request) => await app.login(request, { id: request.query.as }))
app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
await app.listen({ host: '127.0.0.1', port: Number(PORT) })
