import { COMMAND_DEADLINE_MS, OPERATOR_WAIT_MS, SLOW_ROUND_TRIP_MS } from '../../util/timings.ts'
import { finding, ok, refused } from './findings.ts'
import type { Finding, Server } from './findings.ts'

/** How often a server is pinged, and how long that may take together. */
const PINGS = 20
/** How far two clocks may be apart, in milliseconds. */
const APART_MS = { here: 5_000, masters: 1_000 }

/** How long a server takes to answer: some PINGs, one after the other. */
export async function roundTripFindings (server: Server): Promise<Finding[]> {
  const times: number[] = []
  const giveUpAt = performance.now() + OPERATOR_WAIT_MS
  try {
    while (times.length < PINGS && performance.now() < giveUpAt) {
      const sentAt = performance.now()
      await server.ping()
      times.push(performance.now() - sentAt)
    }
  } catch (error) {
    return [refused('round trips', 'PING', error)]
  }
  return [judged(times)]
}

function judged (times: number[]): Finding {
  const sorted = times.toSorted((one, other) => one - other)
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0
  const worst = sorted.at(-1) ?? 0
  const found = `median ${inMs(median)}, worst ${inMs(worst)} of ${times.length}`
  if (worst >= COMMAND_DEADLINE_MS) {
    return finding('problem', 'round trips', `${found}: the application waits ${COMMAND_DEADLINE_MS} ms for an ` +
      'answer, and then replies 503', NEARER)
  }
  if (median < SLOW_ROUND_TRIP_MS) return ok('round trips', found)
  return finding('warning', 'round trips', `${found}: every request that reads its session waits for that`, NEARER)
}

const NEARER = 'Run the doctor where the application runs. If it is as slow there, bring the two nearer, and look ' +
  'for slow commands of others: SLOWLOG GET'

function inMs (ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
}

/** The clocks of the servers against the one here, and against each other. */
export async function clockFindings (servers: ReadonlyArray<[name: string, server: Server]>): Promise<Finding[]> {
  const offsets: number[] = []
  for (const [, server] of servers) {
    const offset = await offsetOf(server)
    if (typeof offset !== 'number') return [offset]
    offsets.push(offset)
  }
  const [least, most] = [Math.min(...offsets), Math.max(...offsets)]
  const findings: Finding[] = []
  if (most - least > APART_MS.masters) {
    findings.push(finding('warning', 'clock', `the clocks of the masters are ${inSeconds(most - least)} apart: ` +
      'sessions end early or late by as much', 'Set the clocks of all servers of Redis by NTP'))
  }
  const farthest = Math.abs(least) > Math.abs(most) ? least : most
  if (Math.abs(farthest) > APART_MS.here) {
    const where = farthest > 0 ? 'ahead of' : 'behind'
    findings.push(finding('warning', 'clock', `the clock of Redis is ${inSeconds(Math.abs(farthest))} ${where} the ` +
      'one here. Sessions keep to that of Redis: times in lists and in logs do not fit together',
    'Set both clocks by NTP'))
  }
  return findings.length > 0 ? findings : [ok('clock', `at most ${inSeconds(Math.abs(farthest))} from the one here`)]
}

/** Returns how far a server's clock is ahead of the one here, in milliseconds, or why that is not known. */
async function offsetOf (server: Server): Promise<number | Finding> {
  try {
    const sentAt = Date.now()
    // They are texts, whatever the driver's types say.
    const [seconds = NaN, micros = NaN] = (await server.time()).map(Number)
    return seconds * 1_000 + micros / 1_000 - (sentAt + Date.now()) / 2
  } catch (error) {
    return refused('clock', 'TIME', error)
  }
}

function inSeconds (ms: number): string {
  return ms < 1_000 ? `${Math.ceil(ms)} ms` : `${Math.round(ms / 1_000)} s`
}
