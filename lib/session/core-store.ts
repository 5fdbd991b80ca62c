import type { EventHub } from './events.ts'
import type { NewSession } from './new-record.ts'
import type { SessionRecord } from './record.ts'
import type { Adoption } from './store.ts'

export type Carry = NewSession['carry']

/** Which of a user's sessions are listed: so many at the most, of those that come after one. */
export interface ListOptions {
  readonly limit: number
  readonly before?: { readonly id: string, readonly createdAt: number } | undefined
}

/** Which of a user's sessions end, and who hears of it as it goes on. */
export interface RevokeOptions {
  readonly except?: string | undefined
  readonly before?: number | undefined
  readonly onEnded: (ids: readonly string[]) => void
}

/** What the core asks of a store; `lib/session/store.ts` says what each promises. */
export interface CoreStore {
  now (): number
  nowForCertain? (): Promise<number>
  find (id: string, options?: { fresh?: boolean }): Promise<SessionRecord | null>
  findNow? (id: string): SessionRecord | undefined
  begin (record: SessionRecord, options: { limit: Limit | null }): Promise<SessionRecord | null>
  replace (
    record: SessionRecord, old: SessionRecord, options: { carry: Carry, limit: Limit | null }
  ): Promise<SessionRecord | null>
  move (record: SessionRecord, old: SessionRecord, options: { carry: Carry }): Promise<SessionRecord | null>
  update (record: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null>
  touch (record: SessionRecord): Promise<boolean>
  delete (id: string, options: { secretHash?: string | undefined }): Promise<SessionRecord | null>
  successor (id: string): Promise<string | null>
  listByUser (userId: string, options: ListOptions): Promise<SessionRecord[]>
  deleteByUser (userId: string, options: RevokeOptions): Promise<string[]>
  listAll (): AsyncIterable<SessionRecord>
  ping (): Promise<void>
  /** Of a store that can take over sessions of an Express app, and list those that one has signed in. */
  readonly adoption?: Adoption | undefined
  readonly bus: ConstructorParameters<typeof EventHub>[0]
  readonly events: StoreListeners
}

interface StoreListeners {
  on (name: 'ended', listener: OnEnded): unknown
  on (name: 'down' | 'up', listener: () => void): unknown
  off (name: 'ended', listener: OnEnded): unknown
  off (name: 'down' | 'up', listener: () => void): unknown
}
export type OnEnded = (id: string, userId: string, reason: 'replaced' | 'evicted' | 'expired') => void

/** How many sessions a user may have, and whether a new one ends the oldest or is refused. */
export interface Limit {
  readonly max: number
  readonly evicts: boolean
}
