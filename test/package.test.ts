import { createRequire } from 'node:module'
import t from 'tap'

// The built package, under its own name, as an application loads it.
t.test('require gives a plugin that Fastify registers', async (t) => {
  const require = createRequire(import.meta.url)
  const { default: sessionPlugin, authRoutes, MemoryStore, RedisStore } = require('fastify-user-sessions') as typeof import('fastify-user-sessions')
  for (const each of [sessionPlugin, authRoutes, MemoryStore, RedisStore]) t.type(each, 'function')
  const { default: Fastify } = await import('fastify')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(require('fastify-user-sessions') as typeof sessionPlugin, { secret: 'only for tests, and 32 characters long', store: new MemoryStore() })
  t.type(app.authenticate, 'function')
})
