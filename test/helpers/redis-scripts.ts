import { updateScript } from '../../lib/redis/compare-and-set.ts'
import type { Script } from '../../lib/redis/link.ts'
import { Records } from '../../lib/redis/records.ts'
import { SignIns } from '../../lib/redis/sign-ins.ts'
import { UserLists } from '../../lib/redis/user-lists.ts'

/** Scripts that begin, change, list and end sessions, by name. A class's own prototype is no member of its copy, which TypeScript does not know. */
export const redisScripts = { updateScript, ...Records, ...UserLists, ...SignIns } as unknown as Record<string, Script>
