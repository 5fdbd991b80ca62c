import calculateSlot from 'cluster-key-slot'
import type { Client } from '../../lib/redis/connection.ts'

/** Whether a call of EVAL or EVALSHA names keys of several slots. `args` come after the script. */
export function isCrossSlot ([count, ...args]: unknown[]): boolean {
  return new Set(args.slice(0, Number(count)).map((key) => calculateSlot(String(key)))).size > 1
}

/**
 * A client of a Cluster behind a proxy, which looks like one server, and refuses scripts over several slots. `onRefusal`
 * is called for each.
 */
export function proxied (client: Client, onRefusal = (): void => {}): Client {
  return new Proxy(client, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      if (name !== 'eval' && name !== 'evalsha') return member.bind(target) as unknown
      return async (script: string, ...args: unknown[]): Promise<unknown> => {
        if (!isCrossSlot(args)) return await (member.call(target, script, ...args) as Promise<unknown>)
        onRefusal()
        throw Object.assign(new Error('CROSSSLOT Keys in request don\'t hash to the same slot'), { name: 'ReplyError' })
      }
    }
  })
}
