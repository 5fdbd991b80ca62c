import { createHash } from 'node:crypto'

/** A Lua script and the name Redis caches it under. */
export interface Script {
  readonly lua: string
  readonly sha: string
  readonly keys: number
}

export function script (keys: number, lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex'), keys }
}
