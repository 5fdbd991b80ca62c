import { appendFileSync } from 'node:fs'

const { SOAK, SOAK_REPORT, TEST_ALL } = process.env

/** Whether the full numbers are asked for: `npm run test:soak`. */
export const isSoak = SOAK !== undefined
/** Whether more is asked for than `npm test` tries. */
export const isAll = isSoak || TEST_ALL !== undefined

/**
 * How often something is tried: `full` times in `npm run test:soak`, `inAll` times in `npm run test:all`, and a tenth of
 * that in `npm test`.
 */
export function times (full: number, inAll = Math.ceil(full / 10)): number {
  if (isSoak) return full
  return isAll ? inAll : Math.ceil(inAll / 10)
}

/** What came of one scenario: a row of the soak's table. */
export interface Outcome {
  scenario: string
  /** The store, or the kind of Redis. */
  on: string
  tries: number
  /** Sessions found after their end was confirmed. */
  resurrected?: number
  /** Confirmed sign-ins or changes that were gone. */
  lost?: number
  /** Made-up credentials taken for real ones, and sessions of whom they were not issued to. */
  accepted?: number
  /** Answers of a server's fault. */
  failed?: number
  /** Commands, keys or cookies for who had none coming. */
  costly?: number
  slowestMs?: number
  /** Within how long half of all requests were answered, and 99 of 100. */
  medianMs?: number
  p99Ms?: number
  /** How long after its confirmed end elsewhere a session was still served from a copy. */
  stalestMs?: number
  /** What is alive on the heap of each process. */
  heapBytes?: number[]
  /** From the end of the fault to the first request served. */
  recoveryMs?: number
}

/** Puts a row into the soak's table. */
export function report (outcome: Outcome): void {
  if (SOAK_REPORT !== undefined) appendFileSync(SOAK_REPORT, JSON.stringify(outcome) + '\n')
}
