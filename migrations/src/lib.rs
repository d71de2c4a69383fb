#![doc = include_str!("../README.md")]

pub use sea_orm_migration::prelude::*;

mod m20261122_000001_bridge;
mod m20261124_000002_hot_indexes;
mod m20261125_000003_fewer_indexes;

/// All migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_bridge::Migration),
            Box::new(m20261124_000002_hot_indexes::Migration),
            Box::new(m20261125_000003_fewer_indexes::Migration),
        ]
    }
}

/// Runs statements one after the other.
async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
