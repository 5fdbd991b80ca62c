import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Cluster } from 'ioredis'
import { sessionPlugin } from '../../lib/index.ts'
import { addRoutes, optionsOf } from './crashing-service.ts'
import type { Service, ServiceRequest } from './crashing-service.ts'
import { until } from './redis.ts'

/*
 * Applications that a test has do something, and kills meanwhile: told by messages which to open, and then what
 * each of them is asked for at the same time. Says `opened`, and the number and the status code of each answer.
 */

const apps: FastifyInstance[] = []

async function open ({ ports, nodes, ...service }: Service): Promise<void> {
  const app = Fastify()
  apps.push(app)
  const [port] = ports
  const host = '127.0.0.1'
  const redis = nodes === null
    ? `redis://${host}:${port}`
    : new Cluster(ports.map((each) => ({ host, port: each })), { lazyConnect: true, natMap: Object.fromEntries(nodes.map((node, index) => [`${host}:${node}`, { host, port: ports[index] as number }])) })
  await app.register(sessionPlugin, { redis, ...optionsOf(service) })
  addRoutes(app)
  await app.ready()
  // On a busy machine it starts without a connection, as applications do.
  await until('the store', async () => (await app.sessions.health()).ok)
}

process.on('message', ({ services = [], requests = [] }: { services?: Service[], requests?: ServiceRequest[] }) => {
  if (services.length > 0) void Promise.all(services.map(open)).then(() => process.send?.('opened'))
  requests.forEach((request, index) => {
    void apps[index]?.inject(request).then(({ statusCode }) => process.send?.([index, statusCode]))
  })
})
process.on('disconnect', () => process.exit())
