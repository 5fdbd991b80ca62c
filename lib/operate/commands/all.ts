import type { Command } from '../command.ts'
import { doctor } from './doctor.ts'
import { list } from './list.ts'
import { revoke } from './revoke.ts'
import { show } from './show.ts'
import { stats } from './stats.ts'
import { tail } from './tail.ts'
import { unlock } from './unlock.ts'
import { why } from './why.ts'

/** All commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [why, list, show, revoke, unlock, stats, tail, doctor]
