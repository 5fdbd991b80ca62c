import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { NotThere } from '../lib.ts'
import { liveBytes } from '../numbers.ts'
import { RAW, VARIANTS } from './variants.ts'

/*
 * The server of one variant, in a process of its own: the child of servers.ts.
 *
 *     server.ts <name of the variant> <URL of Redis>
 */

/** A server that listens. */
export type Started = Server

/** What the parent asks for, and what it is told. */
export type Question = 'cpu' | 'heap' | 'profile' | 'profiled'
export type Answer = { port: number } | { notThere: string } | { micros: number } | { bytes: number } | { profile: object }

const [name, redis = ''] = process.argv.slice(2)
const answer = (what: Answer) => process.send?.(what)

process.once('disconnect', () => process.exit())
const variant = [RAW, ...VARIANTS].find((each) => each.name === name)
if (variant === undefined) throw new Error(`there is no variant ${name}`)

try {
  const { start } = await import(`./apps/${variant.app}.ts`) as { start: (redis: string, options: unknown) => Promise<Started> }
  const server = await start(redis, variant.options)
  // Connections wait while the others have their turn.
  Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 })
  const { profile, profiled } = await import('./profiler.ts')
  process.on('message', (question: Question) => {
    if (question === 'profile') void profile().then(() => answer({ micros: 0 }))
    else if (question === 'profiled') void profiled().then((profile) => answer({ profile }))
    else if (question === 'heap') answer({ bytes: liveBytes() })
    else answer({ micros: cpuMicros() })
  })
  answer({ port: (server.address() as AddressInfo).port })
} catch (error) {
  if (!(error instanceof NotThere)) throw error
  answer({ notThere: error.message })
}

/** All this process has used, in user code and in the kernel, its helping threads included. */
function cpuMicros (): number {
  const { user, system } = process.cpuUsage()
  return user + system
}
