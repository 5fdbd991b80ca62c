/** Why something cannot be measured here. */
export class NotThere extends Error {}

/** A package we are compared with. Not typed: what such packages declare of Fastify's request excludes each other in one program. */
export async function peer (name: string): Promise<any> {
  return await import(name).catch((cause: unknown) => { throw new NotThere(`${name} is not installed`, { cause }) })
}
