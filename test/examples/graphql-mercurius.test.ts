import { buildApp } from '../../examples/graphql-mercurius.ts'
import { testGraphQL } from './graphql-scenario.ts'

testGraphQL('examples/graphql-mercurius.ts', buildApp)
