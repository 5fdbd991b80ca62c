import '../types/index.ts'

export { sessionPlugin, sessionPlugin as default } from './plugin.ts'
export { authenticate, requireAuth, requireDeviceBound, requireRecentLogin } from './http/guards.ts'
export { authenticatePage, guestOnly } from './http/pages.ts'
export { adminRoutes } from './http/routes/admin.ts'
export { authRoutes } from './http/routes/auth.ts'
export { authRoutesOptions } from './http/routes/auth-options.ts'
export { sessionRoutes } from './http/routes/sessions.ts'
export { SessionManager } from './standalone.ts'
export { storeErrors } from './session/store.ts'
export { MemoryStore } from './store/memory.ts'
export { RedisStore } from './redis/store.ts'

export type { AttemptLogin } from './http/attempts.ts'
export type { AdminGuard, AdminRedirects, AdminRoutesOptions } from './http/routes/admin-options.ts'
export type { AuthRedirects, AuthRoutesOptions, SiteData } from './http/routes/auth-options.ts'
export type { SessionRedirects, SessionRoutesOptions } from './http/routes/session-options.ts'
export type { RouteSessionConfig } from './http/context.ts'
export type { Authenticate, RecentLoginOptions, RequireRecentLogin } from './http/guards.ts'
export type { LoginOptions, LoginUser } from './http/login.ts'
export type { RequestAuth } from './http/request-auth.ts'
export type { SessionData } from './http/session-data.ts'
export type { Duration } from './util/duration.ts'
export type { SessionError, SessionErrorCode } from './errors.ts'
export type {
  DeviceMismatch, EndReason, EventName, LoginFailure, SessionEvent, SessionEvents, SessionFork, UseAfterEnd
} from './session/events.ts'
export type {
  AttemptLimitOptions, AttemptOptions, CookieOptions, DecoratorOptions, DeviceBoundOptions, EncryptionOptions,
  ForkDetectionOptions, NearCacheOptions, PagesOptions, RememberOptions, SecurityLogOptions, SessionOptions
} from './options/types.ts'
export type {
  CreatedSession, CreateSession, FindOptions, Health, ListSessions, RequestLike, RevokeOptions, RevokeUserOptions,
  SessionsOfUser, SetTimeouts
} from './session/manager.ts'
export type { EndInfo, EndOptions } from './session/end-cause.ts'
export type { SecurityEvents, SecurityLogEntry, SecurityLogWriter } from './session/security-log.ts'
export type { IdpSession } from './session/idp.ts'
export type { SessionManagerOptions } from './standalone.ts'
export type {
  ListTrace, LoadTrace, LoginTrace, RevokeTrace, SaveTrace, SessionTraces, Trace, TraceName
} from './session/tracing.ts'
export type { Json, JsonObject, NewTimeouts, SessionInfo, SessionKind, SessionRecord } from './session/record.ts'
export type {
  Acquaintance, AttemptCounter, AttemptCounters, AttemptLimit, AttemptSuccess, Began, BeginOptions, Bus, BusSubject,
  Change, DeleteByIdpOptions, DeleteByUserOptions, DeleteOptions, Ended, EndMark, EndRecord, FindRecordOptions, Limit,
  ListAllOptions, ListOptions, MarkOptions, MoveOptions, PlaceOptions, ReplaceOptions, SessionLists, SessionStore,
  StoreEvents
} from './session/store.ts'
export type { ExpressStore } from './store/foreign.ts'
export type { MemoryStoreOptions } from './store/memory.ts'
export type { RedisStoreOptions } from './redis/store.ts'
