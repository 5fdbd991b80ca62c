import { attempts } from './attempts.ts'
import { binding } from './binding.ts'
import { capabilities } from './capabilities.ts'
import { changes } from './changes.ts'
import { ends } from './ends.ts'
import { everything } from './everything.ts'
import { idp } from './idp.ts'
import { life } from './life.ts'
import { limits } from './limits.ts'
import { races } from './races.ts'
import { time } from './time.ts'
import { twins } from './twins.ts'
import { users } from './users.ts'
import { veryMany } from './very-many.ts'

/** The contract of a store, chapter by chapter. */
export const CHAPTERS = {
  life, changes, time, binding, twins, users, idp, everything, capabilities, attempts, ends, limits, veryMany, races
}
