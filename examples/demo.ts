// A small server to try the plugin on: npm run demo
// Sessions live in memory, or in Redis with REDIS_URL=redis://127.0.0.1:6379 npm run demo
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import sessionPlugin, { authRoutes } from 'fastify-user-sessions'

const derive = promisify<string, Buffer, number, Buffer>(scrypt)
const hash = async (password: string) => {
  const salt = randomBytes(16)
  return { salt, key: await derive(password, salt, 32) }
}
const users = new Map([
  ['ada', { id: 1, name: 'Ada', password: await hash('lovelace') }],
  ['bob', { id: 2, name: 'Bob', password: await hash('builder') }]
])
// An unknown name takes as long as a wrong password: it is compared with this.
const nobody = { id: 0, name: '', password: await hash(randomBytes(16).toString('hex')) }

const app = Fastify({ logger: { level: 'warn' }, forceCloseConnections: true })

await app.register(sessionPlugin, {
  // Two demo servers on one Redis have to agree on it; in production it comes from the environment.
  secret: process.env.SESSION_SECRET ?? 'the-demo-has-no-secrets-whatsoever',
  redis: process.env.REDIS_URL,
  cookie: { secure: false }
})

await app.register(authRoutes, {
  prefix: '/auth',
  verify: async ({ username, password }) => {
    const user = users.get(username) ?? nobody
    const key = await derive(password, user.password.salt, 32)
    return timingSafeEqual(key, user.password.key) && user !== nobody ? user : null
  }
})

app.get('/me', { preHandler: app.authenticate }, async (request) => {
  const { userId, createdAt, expiresAt } = request.requireAuth()
  const name = [...users.values()].find((user) => String(user.id) === userId)?.name
  return { userId, name, signedInSince: new Date(createdAt), expiresAt: new Date(expiresAt) }
})

const port = Number(process.env.PORT ?? 3000)
const url = await app.listen({ host: '127.0.0.1', port })
console.log(`
Listening on ${url}, sessions in ${process.env.REDIS_URL === undefined ? 'memory' : 'Redis'}. Sign in, ask who you are, sign out:

  curl -i -c jar -b jar ${url}/auth/login -H 'content-type: application/json' -d '{"username":"ada","password":"lovelace"}'
  curl -i -c jar -b jar ${url}/me
  curl -i -c jar -b jar -X POST ${url}/auth/logout
  curl -i -c jar -b jar ${url}/me
`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => { app.close().then(() => console.log('Stopped.'), console.error) })
}
