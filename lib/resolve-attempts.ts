import { Type } from '@sinclair/typebox'
import { durationMs } from './duration.ts'
import { Faults, shapeOf } from './option-faults.ts'
import { AttemptOptions, AttemptsOption } from './options.ts'
import type { AttemptLimit, AttemptLimits } from './session/attempts.ts'

const NAMES = ['network', 'accountNetwork', 'account'] as const

/** What the schema says of a limit that is not given. */
function defaultOf (name: typeof NAMES[number]): AttemptLimit {
  const { default: { max, within } } = AttemptOptions.properties[name].anyOf[0] as unknown as { default: { max: number, within: string } }
  return { max, withinMs: durationMs(within) }
}

const DEFAULTS = Object.fromEntries(NAMES.map((name) => [name, defaultOf(name)])) as Record<typeof NAMES[number], AttemptLimit>

/** The limits on failed logins that an option asks for; what it leaves out is as in `base`. `null`: there are none. */
export function attemptsOf (given: AttemptOptions | false | undefined, faults: Faults, base: AttemptLimits | null = DEFAULTS): AttemptLimits | null {
  if (given === false) return null
  if (given === undefined) return base
  return Object.fromEntries(NAMES.map((name): [string, AttemptLimit | null] => {
    const limit = given[name]
    const otherwise = (base ?? DEFAULTS)[name]
    if (limit === false) return [name, null]
    if (limit === undefined) return [name, otherwise]
    const { max, withinMs } = otherwise ?? DEFAULTS[name]
    return [name, { max: limit.max ?? max, withinMs: limit.within === undefined ? withinMs : faults.duration(`attempts.${name}.within`, limit.within) }]
  })) as unknown as AttemptLimits
}

/** The limits of an `attempts` option that nobody has looked at yet, and what is wrong with it. */
export function checkedAttempts (given: unknown, base: AttemptLimits | null): { limits: AttemptLimits | null, faults: string[] } {
  const faults = new Faults()
  const { attempts } = shapeOf({ attempts: given }, faults, Type.Object({ attempts: AttemptsOption }))
  const limits = attemptsOf(attempts, faults, base)
  return { limits, faults: faults.texts }
}
