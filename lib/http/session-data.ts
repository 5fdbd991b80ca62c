import type {} from '@fastify/session'
import type { Session } from 'fastify'
import type { JsonObject } from '../session/record.ts'

/** Data that is declared: `declare module 'fastify' { interface Session { cart?: string[] } }`. */
type DeclaredData = { [Name in keyof Session as Exclude<Name, 'cookie'>]?: Session[Name] | undefined }

/**
 * The data of a session, as the application declares it in `interface Session`. Any key may be missing. Where nothing
 * is declared it is `Undeclared`: any JSON.
 */
export type SessionData<Undeclared = JsonObject> = keyof DeclaredData extends never ? Undeclared : DeclaredData
