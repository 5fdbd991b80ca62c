import { Type } from '@sinclair/typebox'
import { durationMs } from '../util/duration.ts'
import { Faults, shapeOf } from './faults.ts'
import { ATTEMPTS, AttemptsOption } from './schema.ts'
import type { AttemptOptions } from './schema.ts'
import type { AttemptLimits } from '../session/attempts.ts'
import type { AttemptLimit } from '../session/store.ts'

const limitOf = ({ max, within }: { max: number, within: string }): AttemptLimit => ({ max, withinMs: durationMs(within) })
const DEFAULTS = { network: limitOf(ATTEMPTS.network), accountNetwork: limitOf(ATTEMPTS.accountNetwork), account: limitOf(ATTEMPTS.account) }

/** The limits on failed logins that an option asks for; what it leaves out is as in `base`. `null`: there are none. */
export function attemptsOf (given: AttemptOptions | false | undefined, faults: Faults, base: AttemptLimits | null = DEFAULTS): AttemptLimits | null {
  if (given === false) return null
  if (given === undefined) return base
  const one = (name: keyof AttemptLimits): AttemptLimit | null => {
    const limit = given[name]
    const otherwise = (base ?? DEFAULTS)[name]
    if (limit === false) return null
    if (limit === undefined) return otherwise
    const { max, withinMs } = otherwise ?? DEFAULTS[name]
    return { max: limit.max ?? max, withinMs: limit.within === undefined ? withinMs : faults.duration(`attempts.${name}.within`, limit.within) }
  }
  return { network: one('network'), accountNetwork: one('accountNetwork'), account: one('account') }
}

/** The limits of an `attempts` option that nobody has looked at yet, and what is wrong with it. */
export function checkedAttempts (given: unknown, base: AttemptLimits | null): { limits: AttemptLimits | null, faults: string[] } {
  const faults = new Faults()
  const { attempts } = shapeOf({ attempts: given }, faults, Type.Object({ attempts: AttemptsOption }))
  const limits = attemptsOf(attempts, faults, base)
  return { limits, faults: faults.texts }
}
