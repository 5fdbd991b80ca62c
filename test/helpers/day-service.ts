import Fastify from 'fastify'
import { liveBytes } from '../../bench/numbers.ts'
import { sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { addRoutes } from '../failover/load.ts'

/*
 * A process of a service: is sent its options, and says on which port it listens. Asked for its `use` later, it says
 * what it has used.
 */

export interface ProcessUse {
  heapBytes: number
  cpuMicros: number
}

async function open (options: SessionOptions): Promise<void> {
  const app = Fastify()
  await app.register(sessionPlugin, options)
  addRoutes(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.send?.((app.server.address() as { port: number }).port)
}

process.on('message', (message: SessionOptions | 'use') => {
  const { user, system } = process.cpuUsage()
  if (message === 'use') process.send?.({ heapBytes: liveBytes(), cpuMicros: user + system } satisfies ProcessUse)
  else void open(message)
})
process.on('disconnect', () => process.exit())
