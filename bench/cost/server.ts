import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { NotThere } from '../peers.ts'
import { liveBytes } from '../numbers.ts'
import { RAW, VARIANTS, userOf } from './variants.ts'

/** How many people sign in for `serve`, each with four requests. */
const SERVED = 2_500
const AT_ONCE = 25

/*
 * The server of one variant, in a process of its own: the child of servers.ts.
 *
 *     server.ts <name of the variant> <URL of Redis>
 */

/** A server that listens. */
export interface Started {
  server: Server
  /** Has it answer a request that comes over no socket. */
  inject?: (request: { method: 'GET' | 'POST', url: string, headers?: { cookie: string } }) => Promise<{ cookies: Array<{ name: string, value: string }> }>
}

/** What the parent asks for, and what it is told. */
export type Question = 'cpu' | 'heap' | 'profile' | 'profiled' | 'serve'
export type Answer = { port: number } | { notThere: string } | { micros: number } | { bytes: number } | { profile: object }

const [name, redis = ''] = process.argv.slice(2)
const answer = (what: Answer) => process.send?.(what)

process.once('disconnect', () => process.exit())
const variant = [RAW, ...VARIANTS].find((each) => each.name === name)
if (variant === undefined) throw new Error(`there is no variant ${name}`)

try {
  const { start } = await import(`./apps/${variant.app}.ts`) as { start: (redis: string, options: unknown) => Promise<Started> }
  const { server, inject } = await start(redis, variant.options)
  // Connections wait while the others have their turn.
  Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 })
  const { profile, profiled } = await import('./profiler.ts')
  process.on('message', (question: Question) => {
    if (question === 'profile') void profile().then(() => answer({ micros: 0 }))
    else if (question === 'profiled') void profiled().then((profile) => answer({ profile }))
    else if (question === 'serve') void serveOthers(inject).then(answer)
    else if (question === 'heap') answer({ bytes: liveBytes() })
    else answer({ micros: cpuMicros() })
  })
  answer({ port: (server.address() as AddressInfo).port })
} catch (error) {
  if (!(error instanceof NotThere)) throw error
  answer({ notThere: error.message })
}

/** Serves requests of other kinds than it is measured with, and without a socket: sign-ins, changes, and some of nobody. */
async function serveOthers (inject: Started['inject']): Promise<Answer> {
  if (inject === undefined) return { notThere: 'has no inject' }
  const one = async (number: number): Promise<void> => {
    const { cookies } = await inject({ method: 'POST', url: `/login?user=${userOf(number)}` })
    const cookie = cookies.map(({ name, value }) => `${name}=${encodeURIComponent(value)}`).join('; ')
    for (const url of ['/note', '/me']) await inject({ method: url === '/note' ? 'POST' : 'GET', url, headers: { cookie } })
    await inject({ method: 'GET', url: '/public' })
  }
  for (let first = 0; first < SERVED; first += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, async (_, index) => await one(first + index)))
  return { micros: 0 }
}

/** All this process has used, in user code and in the kernel, its helping threads included. */
function cpuMicros (): number {
  const { user, system } = process.cpuUsage()
  return user + system
}
