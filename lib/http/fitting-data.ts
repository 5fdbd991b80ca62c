import type { Data } from '../session/changes.ts'
import type { PluginContext } from './context.ts'

/** As much of a session's data as fits `sessionSchema`; what does not is a change, saved with the request's others. */
export function fittingData ({ options: { dataSchema }, log }: PluginContext, sessionId: string | undefined, data: Data): Data {
  if (dataSchema === null) return data
  const { data: fitting, dropped, failure } = dataSchema.fit(data)
  if (failure !== null) log.error({ sessionId, err: failure }, 'migrate failed for the data of a session')
  if (dropped.length > 0) log.warn({ sessionId, keys: dropped }, 'data of a session does not fit sessionSchema and was dropped')
  return fitting
}
