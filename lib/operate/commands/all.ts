import type { Command } from '../command.ts'
import { doctor } from './doctor.ts'
import { list } from './list.ts'
import { revoke } from './revoke.ts'
import { show } from './show.ts'

/** All commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [list, show, revoke, doctor]
