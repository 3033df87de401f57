//! A connection that asks by statements and gets text.

use std::collections::BTreeMap;
use std::io;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, OptsBuilder, Value};

use crate::agent::Report;
use crate::outcome::Outcome;

/// A row: its fields by name.
pub(super) type Row = BTreeMap<String, Option<String>>;

/// A field of a row.
pub(super) fn text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name)?.as_deref()
}

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    conn: Conn,
    address: String,
}

impl Client {
    pub(super) async fn connect(
        address: &str,
        user: &str,
        password: Option<&str>,
    ) -> Result<Self, Report> {
        let mut options = OptsBuilder::default().user(Some(user)).pass(password);
        options = options.prefer_socket(false);
        if address.starts_with('/') {
            options = options.socket(Some(address));
        } else {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "3306"));
            let port = port.parse().unwrap_or(3306);
            options = options.ip_or_hostname(host.trim_matches(['[', ']'])).tcp_port(port);
        }
        let opened = Conn::new(options).await;
        let conn = opened.map_err(|error| refused(address, &error))?;
        let mut client = Self { conn, address: address.to_owned() };
        client.run(&["SET SESSION sql_mode = ''"]).await?;
        Ok(client)
    }

    /// Runs statements, one after the other.
    pub(super) async fn run(&mut self, statements: &[&str]) -> Result<(), Report> {
        for statement in statements {
            let done = self.conn.query_drop(*statement).await;
            done.map_err(|error| refused(&self.address, &error))?;
        }
        Ok(())
    }

    pub(super) async fn rows(&mut self, query: &str) -> Result<Vec<Row>, Report> {
        let rows: Result<Vec<mysql_async::Row>, Error> = self.conn.query(query).await;
        let rows = rows.map_err(|error| refused(&self.address, &error))?;
        Ok(rows.iter().map(fields).collect())
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        // What was asked has been answered.
        let _gone = self.conn.disconnect().await;
    }
}

fn fields(row: &mysql_async::Row) -> Row {
    let columns = row.columns_ref().iter().enumerate();
    let field = |(index, column): (usize, &mysql_async::Column)| {
        // Statements that are not prepared are answered in text.
        let value = match row.as_ref(index) {
            Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        };
        (column.name_str().into_owned(), value)
    };
    columns.map(field).collect()
}

/// What a refusal means; no statement, which may have a password in it, is repeated.
fn refused(address: &str, error: &Error) -> Report {
    let (outcome, words) = if let Error::Server(server) = error {
        match server.code {
            // ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR.
            1045 | 1698 => (Outcome::NotConfigured, server.message.clone()),
            // ER_PARSE_ERROR, whose message quotes the statement.
            1064 => (Outcome::GenericError, "it does not understand the statement".to_owned()),
            _ => (Outcome::GenericError, server.message.clone()),
        }
    } else if let Error::Io(mysql_async::IoError::Io(io)) = error
        && is_nobody(io)
    {
        (Outcome::NotRunning, io.to_string())
    } else {
        (Outcome::GenericError, error.to_string())
    };
    Report::new(outcome, format!("mysql at {address}: {words}"))
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}
