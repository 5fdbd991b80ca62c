export { DAY, HOUR, MINUTE, record } from '../../lib/testing/record.ts'
