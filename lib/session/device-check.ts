import type { SessionRecord } from './record.ts'

/**
 * What a request shows of the device that its session is bound to.
 *
 * - `proven`: it carries the short cookie, which only the device gets.
 * - `unproven`: it need not. The session is not bound, or was a moment ago.
 * - `skipped`: the browser says that it could not get the short cookie. A thief who knows the browser's files can say
 *   that as well.
 * - `elsewhere`: a page of another site made the request, and then browsers get no short cookie first. Or it carries
 *   more of these cookies than are looked at.
 * - `mismatch`: the browser would have had it.
 * - `required`: it need not, but for the option `required`.
 */
export type Standing = 'proven' | 'unproven' | 'skipped' | 'elsewhere' | 'mismatch' | 'required'

/** The headers of a request that say something of its device. */
export interface DeviceHeaders {
  readonly cookie?: string | undefined
  readonly 'sec-fetch-site'?: string | string[] | undefined
  readonly 'secure-session-skipped'?: string | string[] | undefined
}

/** Judges by which device a request was sent. Asks no store. */
export interface DeviceCheck {
  /** Returns what a request shows. `now`: the store's time. Throws what the application's `required` throws. */
  standingOf (record: SessionRecord, headers: DeviceHeaders, now: number): Standing
  /** Whether a session ends when it is used by another device. */
  readonly revokes: boolean
}

/** Whether a request may use its session. */
export function passes (standing: Standing): boolean {
  return standing === 'proven' || standing === 'unproven' || standing === 'skipped'
}

/** Whether a page of another site made a request. */
export function isFromElsewhere (headers: DeviceHeaders): boolean {
  const site = headers['sec-fetch-site']
  return site === 'cross-site' || site === 'same-site'
}
