import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Redis } from 'ioredis'
import { commandsBetween, redisUse } from '../cost/measure.ts'
import type { Slice } from '../cost/measure.ts'
import type { Exchange } from '../cost/load.ts'
import type { Subject } from '../cost/servers.ts'

const SCRIPT = fileURLToPath(new URL('requests.lua', import.meta.url))
/** How many replies are read to the letter before each turn: wrk looks at the status and the size alone. */
const SAMPLE = 100
/** What is written into a cookie again may be some bytes longer or shorter. */
const TOLERANCE = 0.02

/** What a request cost while wrk sent it. Times in milliseconds, from when a request was sent. */
export interface WrkSlice extends Slice {
  perSecond: number
  p50: number
  p99: number
  rawP99: number
}

export interface WrkOptions {
  admin: Redis
  connections: number
  seconds: number
  /** Where the requests may be written. */
  directory: string
}

/** What one run of wrk says. */
interface Heard { requests: number, seconds: number, bytes: number, refused: number, broken: number, p50: number, p99: number }

/**
 * One turn of a server, and before it one of raw Fastify with the same requests: one after the other, as whoever sits
 * outside would do it. Each request is that of the next session; all connections are busy all the time.
 */
export async function wrkSlice (subject: Subject, raw: Subject, options: WrkOptions): Promise<WrkSlice> {
  const asRaw = await turn(raw, subject.rawExchanges, options)
  await subject.fill()
  const own = await turn(subject, subject.exchanges, options)
  return { ...own, rawMicros: asRaw.micros, rawP99: asRaw.p99 }
}

async function turn (subject: Subject, exchanges: readonly Exchange[], { admin, connections, seconds, directory }: WrkOptions): Promise<Omit<WrkSlice, 'rawMicros' | 'rawP99'>> {
  const file = join(directory, 'requests')
  await writeFile(file, exchanges.map(({ request }) => `${request}\0`).join(''), 'latin1')
  const expected = await subject.replyBytes(exchanges, SAMPLE)
  const [before, cpuBefore] = [await redisUse(admin), await subject.cpuMicros()]
  const heard = await wrk(subject.port, { connections, seconds, file })
  const [after, cpuAfter] = [await redisUse(admin), await subject.cpuMicros()]
  const { requests, refused, broken, p50, p99 } = heard
  const size = heard.bytes / requests
  if (refused > 0 || broken > 0 || !(Math.abs(size / expected - 1) < TOLERANCE)) {
    throw new Error(`${subject.variant.name}: of ${requests} replies ${refused} were refusals, ${broken} connections broke; ${size} bytes each, not ${expected}`)
  }
  return {
    micros: (cpuAfter - cpuBefore) / requests,
    redisMicros: (after.micros - before.micros) / requests,
    commands: commandsBetween(before, after, requests),
    perSecond: requests / heard.seconds,
    p50,
    p99
  }
}

async function wrk (port: number, { connections, seconds, file }: { connections: number, seconds: number, file: string }): Promise<Heard> {
  const flags = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s', '-s', SCRIPT]
  const { stdout } = await promisify(execFile)('wrk', [...flags, `http://127.0.0.1:${port}`, '--', file]).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new Error('wrk is not there. Debian and Ubuntu: apt-get install wrk. macOS: brew install wrk', { cause: error }) : error
  })
  const [, json] = /^json (.+)$/m.exec(stdout) ?? []
  if (json === undefined) throw new Error(`wrk has counted nothing: ${stdout}`)
  // Printed by requests.lua.
  return JSON.parse(json) as Heard
}
