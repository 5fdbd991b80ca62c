import { durationFault, durationMs } from '../util/duration.ts'
import { misuse } from './exit.ts'

/**
 * Returns the value of an option that is a time, in milliseconds. `faultOf`: says what is wrong with one.
 * @throws Failure
 */
export function timeFrom (
  option: string, text: string, faultOf: (value: string) => string | null = durationFault
): number {
  // A number alone would be milliseconds: nobody means that.
  const fault = /^\d*$/.test(text) ? 'must be a time such as 30d, 12h or 15m' : faultOf(text)
  if (fault !== null) throw misuse(`--${option} ${fault}`)
  return durationMs(text)
}
